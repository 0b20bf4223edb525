/**
 * New clusters whose content the caller writes into the file. The caller then says which of them it
 * has used.
 */
import { assert } from '../../../base/errors.js';
import type { RangeLock } from '../../../base/range-lock.js';
import type { Metadata } from './metadata.js';

/**
 * Units from `to` on, without gaps; those that need not be held are left out. A flag for each, 1 =
 * written; undefined: there is no way. done: bytes that were filled before.
 */
export type Fill = (done: number, to: number, length: number) => Promise<Uint8Array | undefined>;

interface Image {
  metadata: Metadata;
  /** The mapping changes under it. */
  mapping: RangeLock;
}
interface Range {
  offset: number;
  length: number;
  /** Whole clusters, and the range is whole units. */
  unit: number;
}

/** None of the clusters is held. Undefined: fill had no way, nothing was done. */
export async function fillClusters(
  image: Image,
  { offset, length, unit }: Range,
  fill: Fill,
): Promise<{ written: Uint8Array; held: number } | undefined> {
  const all = new Uint8Array(length / unit);
  for (let done = 0; done < length;) {
    const from = done;
    const written = await fillUnits(
      image,
      { offset: offset + from, length: length - from, unit },
      (to, part) => fill(from, to, part),
    );
    assert(written !== undefined || done === 0, 'qcow2: new clusters were filled in part');
    if (!written) return undefined;
    all.set(written, done / unit);
    done += written.length * unit;
  }
  return { written: all, held: (sum(all) * unit) / image.metadata.header.clusterSize };
}

/** The first of them, as many as the file has room for in one place. */
async function fillUnits(
  { metadata, mapping }: Image,
  { offset, length, unit }: Range,
  fill: (to: number, length: number) => ReturnType<Fill>,
): Promise<Uint8Array | undefined> {
  const size = metadata.header.clusterSize;
  const perUnit = unit / size;
  const change = <T>(body: () => Promise<T>) => mapping.runAll('exclusive', body);
  let room = await change(() => metadata.refcounts.allocate(length / size));
  if (room.count < perUnit) {
    await change(() => metadata.giveBack(room.offset, room.count));
    room = await change(() => metadata.refcounts.allocate(perUnit, true));
  }
  let used = 0;
  try {
    const written = await fill(room.offset, room.count * size - ((room.count * size) % unit));
    if (!written) return undefined;
    metadata.wrote();
    // From here on what cannot be mapped to its end stays counted: part of it may be mapped.
    used = sum(written) * perUnit;
    await change(() =>
      mapUnits(metadata, { first: offset / size, host: room.offset, perUnit }, written),
    );
    return written;
  } finally {
    if (used < room.count)
      await change(() => metadata.giveBack(room.offset + used * size, room.count - used));
  }
}

/** Those written stand one behind the other. */
async function mapUnits(
  metadata: Metadata,
  { first, host, perUnit }: { first: number; host: number; perUnit: number },
  written: Uint8Array,
): Promise<void> {
  let clusters = 0;
  for (let n = 0; n < written.length; n++) {
    const start = n;
    while (written[n] === 1) n++;
    if (n > start)
      await metadata.mapRun(
        first + start * perUnit,
        (n - start) * perUnit,
        host + clusters * metadata.header.clusterSize,
      );
    clusters += (n - start) * perUnit;
  }
}

const sum = (flags: Uint8Array) => flags.reduce((total, flag) => total + flag, 0);
