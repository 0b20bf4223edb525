/** Copying and comparing whole images: several pieces at once, holes and zeroes skipped. */
import { isZero, SECTOR } from '../driver.js';
import type { Qcow2Driver } from '../drivers/qcow2/driver.js';
import { unlessAssertion } from '../io-error.js';
import type { BlockNode } from '../node.js';
import { pieces } from './pieces.js';

const PIECE = 2 * 1024 * 1024;
/** What is copied at once: small enough that the processor still has it when it is written. */
const COPIED = 512 * 1024;
/** The longest range that is asked about at once. */
const SPAN = 1024 * 1024 * 1024;

export type Progress = (done: number, total: number) => void;

export interface CopyOptions {
  /** The target is known to read as zeroes: zeroes are not written. */
  targetIsZero: boolean;
  /** What the target allocates at once: part of it is never written alone. */
  unit?: number;
  /** Compressed clusters, for this target. */
  compress?: Qcow2Driver;
  /** Zeroes of so many bytes are left out; 0: everything is written. */
  sparseBytes: number;
  /** Pieces at once. */
  lanes: number;
  progress?: Progress;
}

interface Part {
  at: number;
  length: number;
  /** It reads as zeroes, and need not be read. */
  zero: boolean;
}

/** The target is at least as long as the source. */
export async function copyImage(source: BlockNode, target: BlockNode, options: CopyOptions): Promise<void> {
  const unit = Math.max(SECTOR, options.sparseBytes, options.compress?.unit ?? options.unit ?? 0);
  const piece = options.compress ? unit : Math.ceil(COPIED / unit) * unit;
  const all = parts(source, unit, piece, options.sparseBytes > 0);
  let done = 0;
  const lane = async () => {
    const buffer = Buffer.allocUnsafeSlow(piece);
    // One that fails ends the parts for the others too.
    for await (const { at, length, zero } of all) {
      if (!zero) await copyPart(await source.pread(at, length, buffer), at, unit, target, options);
      else if (!options.targetIsZero) await target.writeZeroes(at, length);
      done += length;
      options.progress?.(done, source.length);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: options.lanes }, lane));
  for (const { reason } of ends.filter(end => end.status === 'rejected')) throw unlessAssertion(reason);
  if (!options.targetIsZero && target.length > source.length) await target.writeZeroes(source.length, target.length - source.length);
  await target.flush();
}

/** The source by rising offset, in whole units: zeroes as long as they go, data in pieces. A unit that is part data is data. */
async function* parts(source: BlockNode, unit: number, piece: number, sparse: boolean): AsyncGenerator<Part> {
  const total = source.length;
  for (let at = 0; at < total; ) {
    const { zero, length } = await source.blockStatus(at, Math.min(SPAN, total - at));
    const units = (at + length) / unit;
    const zeroEnd = sparse && zero ? Math.min(total, (at + length === total ? Math.ceil(units) : Math.floor(units)) * unit) : at;
    if (zeroEnd > at) yield { at, length: zeroEnd - at, zero: true };
    const end = zeroEnd > at ? zeroEnd : Math.min(total, Math.ceil(units) * unit);
    for (at = zeroEnd; at < end; at += piece) yield { at, length: Math.min(piece, end - at), zero: false };
    at = end;
  }
}

/** Whole units, the last of the disk excepted. */
async function copyPart(data: Buffer, offset: number, unit: number, target: BlockNode, options: CopyOptions): Promise<void> {
  const { compress, sparseBytes } = options;
  if (sparseBytes === 0) return target.pwrite(offset, data);
  const zeroAt = (at: number) => isZero(data, at, Math.min(data.length, at + unit));
  for (let at = 0; at < data.length; ) {
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
export async function firstDifference(a: BlockNode, b: BlockNode, progress?: Progress): Promise<number | undefined> {
  const total = Math.max(a.length, b.length);
  let first: number | undefined;
  let done = 0;
  const read = async (node: BlockNode, offset: number, length: number) => {
    const there = Math.max(0, Math.min(length, node.length - offset));
    if (there === 0) return undefined;
    const status = await node.blockStatus(offset, there);
    if (status.zero && status.length === there) return undefined;
    const data = await node.pread(offset, there);
    return there === length ? data : Buffer.concat([data], length);
  };
  await pieces(total, PIECE, async (offset, length) => {
    if (first !== undefined && first < offset) return;
    const [one, two] = await Promise.all([read(a, offset, length), read(b, offset, length)]);
    if ((one || two) && !(one && two && one.equals(two))) {
      const at = mismatch(one ?? Buffer.alloc(length), two ?? Buffer.alloc(length));
      if (at !== undefined) first = Math.min(first ?? Infinity, offset + at);
    }
    done += length;
    progress?.(done, total);
  });
  return first;
}

function mismatch(one: Buffer, two: Buffer): number | undefined {
  for (let at = 0; at < one.length; at += 512) if (!one.subarray(at, at + 512).equals(two.subarray(at, at + 512))) return at;
  return undefined;
}
