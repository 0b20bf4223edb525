/** Copying and comparing whole images: several pieces at once, holes and zeroes skipped. */
import { type ByteProgress, isZero, type DataPlace, SECTOR } from '../contract/driver.js';
import type { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { unlessAssertion } from '../contract/io-error.js';
import type { BlockNode } from '../contract/node.js';
import { differenceOnHost, hostCopyTo } from './host-copy.js';

const PIECE = 2 * 1024 * 1024;
const COMPARED_AT_ONCE = 4;
/** What is copied at once: small enough that the processor still has it when it is written. */
const COPIED = 512 * 1024;
/** What one job copies between two files of the host. */
const DIRECT = 2 * 1024 * 1024;
/** The longest range that is asked about at once. */
const SPAN = 1024 * 1024 * 1024;

export interface CopyOptions {
  /** The target is known to read as zeroes: zeroes are not written. */
  targetIsZero: boolean;
  /** What the target allocates at once: part of it is never written alone. */
  unit?: number;
  /**
   * What is below the source's top image, and below the target too: what the top image does not
   * hold is not copied.
   */
  below?: BlockNode;
  /** Compressed clusters, for this target. */
  compress?: Qcow2Driver;
  /** The number of zero bytes from which on they are left out; 0: everything is written. */
  sparseBytes: number;
  /** Pieces at once. */
  lanes: number;
  progress?: ByteProgress;
}

interface Part {
  at: number;
  length: number;
  /** zero: it reads as zeroes, and need not be read; absent: not of the source's top image. */
  kind: 'zero' | 'absent' | 'data';
  place?: DataPlace;
}

/** The target is at least as long as the source. */
export async function copyImage(
  source: BlockNode,
  target: BlockNode,
  options: CopyOptions,
): Promise<void> {
  const { sparseBytes, compress, lanes } = options;
  const unit = Math.max(SECTOR, sparseBytes, compress?.unit ?? options.unit ?? 0);
  const copies = {
    source,
    target,
    unit,
    piece: compress ? unit : Math.ceil(COPIED / unit) * unit,
    options,
  };
  const direct = sparseBytes > 0 && !compress ? hostCopyTo(target, unit) : undefined;
  const all = parts(source, {
    unit,
    piece: direct ? Math.ceil(DIRECT / unit) * unit : copies.piece,
    sparse: sparseBytes > 0,
    belowBytes: options.below?.length ?? 0,
  });
  let done = 0;
  const lane = async () => {
    const copy = byHand(copies);
    // One that fails ends the parts for the others too.
    for await (const { at, length, kind, place } of all) {
      const written = kind !== 'data' ? allZero : place && (await direct?.(at, length, place));
      if (!written) await copy(at, length);
      else if (kind !== 'absent' && !options.targetIsZero)
        await zeroUnits(target, at, length, written === allZero ? length : unit, written);
      done += length;
      options.progress?.(done, source.length);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: lanes }, lane));
  for (const { reason } of ends.filter(end => end.status === 'rejected'))
    throw unlessAssertion(reason);
  if (!options.targetIsZero && target.length > source.length)
    await target.writeZeroes(source.length, target.length - source.length);
  await target.flush();
}

const allZero = new Uint8Array(1);

/** Neighbouring units that were left out, at once. */
async function zeroUnits(
  target: BlockNode,
  at: number,
  length: number,
  unit: number,
  written: Uint8Array,
): Promise<void> {
  for (let n = 0; n < written.length;) {
    let end = n;
    while (end < written.length && written[end] === 0) end++;
    if (end > n) await target.writeZeroes(at + n * unit, Math.min(end * unit, length) - n * unit);
    n = end + 1;
  }
}

interface Cut {
  unit: number;
  /** The longest part of data. */
  piece: number;
  /** Zeroes need not be read. */
  sparse: boolean;
  /** So far the image below reaches; 0: what is below counts as the source's own. */
  belowBytes: number;
}

/**
 * The source by rising offset, in whole units: data in pieces, the rest as long as it goes. A unit
 * that is part data is data.
 */
async function* parts(
  source: BlockNode,
  { unit, piece, sparse, belowBytes }: Cut,
): AsyncGenerator<Part> {
  const total = source.length;
  for (let at = 0; at < total;) {
    const { allocated, zero, length, place } = await source.blockStatus(
      at,
      Math.min(SPAN, Math.min(total, at < belowBytes ? belowBytes : total) - at),
    );
    const start = at;
    const units = (at + length) / unit;
    const kind = !allocated && at < belowBytes ? 'absent' : sparse && zero ? 'zero' : 'data';
    const wholeEnd =
      kind === 'data'
        ? at
        : Math.min(total, (at + length === total ? Math.ceil(units) : Math.floor(units)) * unit);
    if (wholeEnd > at) yield { at, length: wholeEnd - at, kind };
    const end = wholeEnd > at ? wholeEnd : Math.min(total, Math.ceil(units) * unit);
    for (at = wholeEnd; at < end; at += piece) {
      const part = Math.min(piece, end - at);
      const whole = place && at + part <= start + length;
      yield {
        at,
        length: part,
        kind: 'data',
        ...(whole && { place: { node: place.node, offset: place.offset + at - start } }),
      };
    }
    at = end;
  }
}

/** Through one buffer. */
function byHand({
  source,
  target,
  piece,
  unit,
  options,
}: {
  source: BlockNode;
  target: BlockNode;
  piece: number;
  unit: number;
  options: CopyOptions;
}) {
  let buffer: Buffer | undefined;
  return async (at: number, length: number) => {
    buffer ??= Buffer.allocUnsafeSlow(piece);
    for (let done = 0; done < length; done += piece) {
      const data = await source.pread(at + done, Math.min(piece, length - done), buffer);
      await copyPart(data, at + done, unit, target, options);
    }
  };
}

/** Whole units, the last of the disk excepted. */
async function copyPart(
  data: Buffer,
  offset: number,
  unit: number,
  target: BlockNode,
  options: CopyOptions,
): Promise<void> {
  const { compress, sparseBytes } = options;
  if (sparseBytes === 0) return target.pwrite(offset, data);
  const zeroAt = (at: number) => isZero(data, at, Math.min(data.length, at + unit));
  for (let at = 0; at < data.length;) {
    const zero = zeroAt(at);
    let stop = at + unit;
    while (!compress && stop < data.length && zeroAt(stop) === zero) stop += unit;
    const part = data.subarray(at, stop);
    if (!zero && compress) await compress.writeCompressed(offset + at, part);
    else if (!zero) await target.pwrite(offset + at, part);
    else if (!options.targetIsZero) await target.writeZeroes(offset + at, part.length);
    at = stop;
  }
}

/** Where the images differ first; what one has beyond the end of the other must be zeroes. */
export async function firstDifference(
  a: BlockNode,
  b: BlockNode,
  progress?: ByteProgress,
): Promise<number | undefined> {
  const total = Math.max(a.length, b.length);
  let first: number | undefined;
  let done = 0;
  const all = pairs(a, b);
  const lane = async () => {
    const compare = comparer();
    for await (const { at, length, sides } of all) {
      if (first !== undefined && first < at) return;
      const found = sides.length === 0 ? undefined : await compare(at, length, sides);
      if (found !== undefined) first = Math.min(first ?? Infinity, at + found);
      done += length;
      progress?.(done, total);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: COMPARED_AT_ONCE }, lane));
  for (const { reason } of ends.filter(end => end.status === 'rejected'))
    throw unlessAssertion(reason);
  return first;
}

interface Side {
  node: BlockNode;
  place?: DataPlace;
}
interface Pair {
  at: number;
  length: number;
  /** Two, to be equal; one, to be all zeroes; or none: both are known to be. */
  sides: Side[];
}

/**
 * By rising offset: as far as nothing changes on either side, in pieces where something must be
 * read.
 */
async function* pairs(a: BlockNode, b: BlockNode): AsyncGenerator<Pair> {
  const total = Math.max(a.length, b.length);
  const look = async (node: BlockNode, at: number) => {
    if (at >= node.length) return { end: total, zero: true };
    const { length, zero, place } = await node.blockStatus(at, Math.min(SPAN, node.length - at));
    return {
      end: at + length,
      zero,
      place: place && { node: place.node, offset: place.offset - at },
    };
  };
  let one = await look(a, 0);
  let two = await look(b, 0);
  for (let at = 0; at < total;) {
    const end = Math.min(one.end, two.end);
    const known = [
      { node: a, ...one },
      { node: b, ...two },
    ].filter(side => !side.zero);
    for (const step = known.length === 0 ? end - at : PIECE; at < end; at += step) {
      const here = at;
      const sides = known.map(({ node, place }) => ({
        node,
        place: place && { node: place.node, offset: place.offset + here },
      }));
      yield { at, length: Math.min(step, end - at), sides };
    }
    at = end;
    if (at >= total) return;
    if (one.end === at) one = await look(a, at);
    if (two.end === at) two = await look(b, at);
  }
}

/** Through two buffers, where it cannot be left to a job. Gives the start of a sector. */
function comparer() {
  const buffers: Buffer[] = [];
  const byHand = async (at: number, length: number, sides: Side[]) => {
    const [one, two] = await Promise.all(
      sides.map(({ node }, n) =>
        node.pread(at, length, (buffers[n] ??= Buffer.allocUnsafeSlow(PIECE))),
      ),
    );
    if (two ? one.equals(two) : isZero(one)) return -1;
    return one.findIndex((byte, n) => byte !== (two ? two[n] : 0));
  };
  return async (at: number, length: number, sides: Side[]): Promise<number | undefined> => {
    const found = await (differenceOnHost(
      length,
      sides.map(side => side.place),
    ) ?? byHand(at, length, sides));
    return found < 0 ? undefined : found - (found % SECTOR);
  };
}
