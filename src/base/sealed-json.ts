/**
 * What records that are one line of JSON have in common: bytes that may be anything, a checksum
 * that tells of changes by hand, and versions that this colo does not know.
 */
import { createHash } from 'node:crypto';
import { VmError } from './errors.js';
import { printable } from './printable.js';

/** undefined: it is no JSON object. */
export function jsonObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** body: its keys stand in one order, whatever made it. 32 hexadecimal digits. */
export const jsonChecksum = (body: object): string =>
  createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 32);

export function otherVersion(found: unknown, known: number): VmError {
  return new VmError(`it has version ${printable(String(found), 20)}, this colo knows ${known}`, {
    hint: 'Use the colo that wrote it.',
  });
}
