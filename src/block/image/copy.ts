/** Copying and comparing whole images: several pieces at once, holes and zeroes skipped. */
import { isZero } from '../driver.js';
import type { Qcow2Driver } from '../drivers/qcow2/driver.js';
import type { BlockNode } from '../node.js';
import { pieces } from './pieces.js';

const PIECE = 2 * 1024 * 1024;

export type Progress = (done: number, total: number) => void;

export interface CopyOptions {
  /** The target is known to read as zeroes: zeroes are not written. */
  targetIsZero: boolean;
  /** Compressed clusters, for this target. */
  compress?: Qcow2Driver;
  /** Zeroes of so many bytes are left out; 0: everything is written. */
  sparseBytes: number;
  /** Pieces at once. */
  lanes: number;
  progress?: Progress;
}

/** The target is at least as long as the source. */
export async function copyImage(source: BlockNode, target: BlockNode, options: CopyOptions): Promise<void> {
  const piece = options.compress ? Math.max(options.compress.unit, 65536) : PIECE;
  let done = 0;
  await pieces(source.length, piece, async (offset, length) => {
    for (let at = offset; at < offset + length; ) {
      const status = await source.blockStatus(at, offset + length - at);
      if (status.zero && options.sparseBytes > 0) {
        if (!options.targetIsZero) await target.writeZeroes(at, status.length);
      } else await copyPart(await source.pread(at, status.length), at, target, options);
      at += status.length;
    }
    done += length;
    options.progress?.(done, source.length);
  }, options.lanes);
  if (!options.targetIsZero && target.length > source.length) await target.writeZeroes(source.length, target.length - source.length);
  await target.flush();
}

async function copyPart(data: Buffer, offset: number, target: BlockNode, options: CopyOptions): Promise<void> {
  const { compress } = options;
  const unit = compress ? compress.unit : options.sparseBytes;
  if (unit === 0) return target.pwrite(offset, data);
  for (let at = 0; at < data.length; ) {
    const step = (from: number) => Math.min(data.length, from + unit - ((offset + from) % unit));
    let stop = step(at);
    const zero = isZero(data.subarray(at, stop));
    while (stop < data.length && !compress && isZero(data.subarray(stop, step(stop))) === zero) stop = step(stop);
    const part = data.subarray(at, stop);
    if (!zero && compress && (offset + at) % unit === 0 && (part.length === unit || offset + stop === target.length)) await compress.writeCompressed(offset + at, part);
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
