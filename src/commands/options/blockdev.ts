/** `-blockdev`: a node of the block graph, `driver=D,node-name=N,KEY.SUB=VALUE` or the JSON that QMP's blockdev-add takes. */
import { asVmError, VmError } from '../../base/errors.js';
import type { BlockdevSpec } from '../../machine/spec.js';
import { isObject } from '../../monitor/types.js';
import { parseTree } from './tree.js';

export function parseBlockdev(text: string): BlockdevSpec {
  const options = text.startsWith('{') ? parseJson(text) : parseTree(text);
  const nodeName = options['node-name'];
  if (nodeName === undefined) throw new VmError("'node-name' is missing: node-name=NAME");
  if (typeof nodeName !== 'string') throw new VmError("'node-name' is a word");
  return { nodeName, options };
}

function parseJson(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VmError(`not JSON: ${asVmError(error).message}`, { hint: 'A shell leaves the quotes alone between single ones: -blockdev \'{"driver":"raw",...}\'' });
  }
  if (!isObject(value)) throw new VmError('not a JSON object');
  return value;
}
