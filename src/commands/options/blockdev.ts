/**
 * `-blockdev`: a node of the block graph, `driver=D,node-name=N,KEY.SUB=VALUE` or the JSON that
 * QMP's blockdev-add takes.
 */
import { VmError } from '../../base/errors.js';
import type { BlockdevSpec } from '../../machine/spec.js';
import { parseJsonObject } from '../../words/json.js';
import { parseNested } from '../../words/nested.js';

export function parseBlockdev(text: string): BlockdevSpec {
  const options = text.startsWith('{') ? parseJsonObject(text) : parseNested(text);
  const nodeName = options['node-name'];
  if (nodeName === undefined) throw new VmError("'node-name' is missing: node-name=NAME");
  if (typeof nodeName !== 'string') throw new VmError("'node-name' is a word");
  return { nodeName, options };
}
