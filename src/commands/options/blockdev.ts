/**
 * `-blockdev`: a node of the block graph, `driver=D,node-name=N,KEY.SUB=VALUE` or the JSON that
 * QMP's blockdev-add takes.
 */
import { VmError } from '../../base/errors.js';
import type { BlockdevSpec } from '../../machine/spec.js';
import { parseJsonObject } from '../../words/json.js';
import { parseNested } from '../../words/nested.js';
import type { VmOption } from './option.js';

export const blockdevOption: VmOption = {
  name: 'blockdev',
  value: 'OPTS',
  repeatable: true,
  summary:
    'node of the block graph, for -device virtio-blk-pci,drive=NODE, a -drive or a later ' +
    '-blockdev: driver=DRIVER,node-name=NODE,...; or the JSON of blockdev-add',
  take: (draft, value) => void draft.spec.blockdevs.push(parseBlockdev(value)),
};

function parseBlockdev(text: string): BlockdevSpec {
  const options = text.startsWith('{') ? parseJsonObject(text) : parseNested(text);
  const nodeName = options['node-name'];
  if (nodeName === undefined) throw new VmError("'node-name' is missing: node-name=NAME");
  if (typeof nodeName !== 'string') throw new VmError("'node-name' is a word");
  return { nodeName, options };
}
