/** The JSON form of an option's value. */
import { asVmError, VmError } from '../base/errors.js';
import { isObject } from './types.js';

export function parseJsonObject(text: string): Readonly<Record<string, unknown>> {
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
