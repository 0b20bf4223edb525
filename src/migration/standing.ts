/**
 * What the sides of a pair say of their images in hello and accept: records, as JSON with limits.
 */
import { VmError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import type { IntentStanding } from '../block/record/image-bitmap.js';
import { BASES_MAX } from '../block/record/intent-sectors.js';
import { checkRecord, type PairRecord } from '../block/record/pair-record.js';

/** One disk of the secondary. */
export interface DiskStanding {
  disk: string;
  /** undefined: its image has none. */
  record: PairRecord | undefined;
  /** undefined: a peer that keeps no bitmaps. */
  bitmap?: IntentStanding;
}

export const STANDINGS_BYTES_MAX = 256 * 1024;
const DISKS_MAX = 64;
const WHY_MAX = 300;

export const encodeStandings = (disks: readonly DiskStanding[]) =>
  Buffer.from(JSON.stringify(disks));

/** Untrusted bytes. */
export function decodeStandings(body: Uint8Array): DiskStanding[] {
  const value = parsed(body);
  if (!Array.isArray(value) || value.length > DISKS_MAX)
    throw new VmError('the disks are not a list');
  return value.map((item: unknown) => {
    const { disk, record, bitmap } = fieldsOf(item, 'a disk');
    if (typeof disk !== 'string' || disk.length > 256) throw new VmError('a disk has no name');
    const known = { disk, record: decodePeerRecord(record) };
    return bitmap === undefined ? known : { ...known, bitmap: decodeBitmap(bitmap) };
  });
}

function decodeBitmap(value: unknown): IntentStanding {
  const { bases, why } = fieldsOf(value, 'a bitmap');
  if (typeof why === 'string') return { why: printable(why.slice(0, WHY_MAX)) };
  if (!Array.isArray(bases) || bases.length > BASES_MAX || !bases.every(isPoint))
    throw new VmError('a bitmap counts from points that are none');
  return { bases };
}

const isPoint = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{32}$/.test(value);

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
