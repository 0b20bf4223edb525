/**
 * `-blockdev`: a node of the block graph, `driver=D,node-name=N,KEY.SUB=VALUE` or the JSON that
 * QMP's blockdev-add takes; and a -device in JSON.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { BlockdevSpec } from '../../machine/spec.js';
import { isObject } from '../../words/types.js';
import { parseTree } from './tree.js';

export function parseBlockdev(text: string): BlockdevSpec {
  const options = text.startsWith('{') ? parseJson(text) : parseTree(text);
  const nodeName = options['node-name'];
  if (nodeName === undefined) throw new VmError("'node-name' is missing: node-name=NAME");
  if (typeof nodeName !== 'string') throw new VmError("'node-name' is a word");
  return { nodeName, options };
}

/** `{"driver": "virtio-blk-pci", "drive": "disk0"}` as the text that says the same. */
export function deviceText(text: string): string {
  if (!text.startsWith('{')) return text;
  const { driver, ...properties } = parseJson(text);
  if (typeof driver !== 'string') throw new VmError("'driver' is missing");
  return [
    driver,
    ...Object.entries(properties).map(([key, value]) => `${key}=${propertyText(key, value)}`),
  ]
    .map(word => word.replaceAll(',', ',,'))
    .join(',');
}

function propertyText(key: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'string' || typeof value === 'number') return String(value);
  throw new VmError(`'${key}' is a word, a number or a boolean`);
}

function parseJson(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VmError(`not JSON: ${asVmError(error).message}`, {
      hint: 'A shell leaves the quotes alone between single ones: \'{"driver":"raw",...}\'',
    });
  }
  if (!isObject(value)) throw new VmError('not a JSON object');
  return value;
}
