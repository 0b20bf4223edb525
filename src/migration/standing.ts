/**
 * What the sides of a pair say of their images in hello and accept: records, as JSON with limits.
 */
import { VmError } from '../base/errors.js';
import { checkRecord, type PairRecord } from '../block/record/pair-record.js';

/** One disk of the secondary. */
export interface DiskStanding {
  disk: string;
  /** undefined: its image has none. */
  record: PairRecord | undefined;
}

export const standingsBytesMax = 256 * 1024;
const disksMax = 64;

export const encodeStandings = (disks: readonly DiskStanding[]) =>
  Buffer.from(JSON.stringify(disks));

/** Untrusted bytes. */
export function decodeStandings(body: Uint8Array): DiskStanding[] {
  const value = parsed(body);
  if (!Array.isArray(value) || value.length > disksMax)
    throw new VmError('the disks are not a list');
  return value.map((item: unknown) => {
    const { disk, record } = fieldsOf(item, 'a disk');
    if (typeof disk !== 'string' || disk.length > 256) throw new VmError('a disk has no name');
    return { disk, record: decodePeerRecord(record) };
  });
}

export const encodePeerRecord = (record: PairRecord | undefined) =>
  Buffer.from(JSON.stringify(record ?? null));

export const decodePeerRecordBytes = (body: Uint8Array) => decodePeerRecord(parsed(body));

/** null, like a missing one: there is no record. */
export function decodePeerRecord(value: unknown): PairRecord | undefined {
  if (value === undefined || value === null) return undefined;
  try {
    return checkRecord(fieldsOf(value, 'the record'));
  } catch (error) {
    throw error instanceof VmError ? error.during('the record of an image') : error;
  }
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString('utf8'));
  } catch (error) {
    throw new VmError('it is not JSON', { cause: error });
  }
}

function fieldsOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new VmError(`${name} is not an object`);
}
