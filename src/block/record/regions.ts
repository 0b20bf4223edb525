/**
 * The regions of a disk, one bit each, as a write-intent bitmap counts them. What is sent to the
 * peer, and what is kept beside an image, are these bits: region n is bit n % 8 of byte n / 8.
 */
import { VmError } from '../../base/errors.js';

export interface Range {
  offset: number;
  length: number;
}

const SMALLEST = 4096;
const USUAL = 64 * 1024;
/** A guest that fills its disk at random waits for so many syncs, and for no more. */
const REGIONS_MAX = 16 * 1024;
const PIECES_MAX = 128;
/** A disk has at least so many, unless they would be smaller than a page. */
const REGIONS_MIN = 16;

/**
 * Bytes of a region: 64 KiB up to 1 GiB of disk, 1 MiB at 16 GiB, 64 MiB at 1 TiB; less for a disk
 * below 1 MiB. The first write to a region costs a sync, so it should not be small; what is read at
 * a rejoin grows with it, so it should not be large. What is copied does not: regions are compared
 * in pieces (pieceBytesOf).
 */
export function regionBytesOf(length: number): number {
  let bytes = USUAL;
  while (length / bytes > REGIONS_MAX) bytes *= 2;
  while (bytes > SMALLEST && length / bytes < REGIONS_MIN) bytes /= 2;
  return bytes;
}

/** The unit of comparing and copying: 64 KiB up to 128 GiB of disk. */
export function pieceBytesOf(length: number): number {
  const region = regionBytesOf(length);
  return region <= USUAL ? region : Math.max(USUAL, region / PIECES_MAX);
}

export class Regions {
  private readonly bits: Uint8Array;
  readonly count: number;

  constructor(
    readonly length: number,
    readonly regionBytes: number = regionBytesOf(length),
  ) {
    this.count = Math.ceil(length / regionBytes);
    this.bits = new Uint8Array(Math.ceil(this.count / 8));
  }

  /** VmError: they are not the bits of a disk of this length. */
  static decode(length: number, bytes: Uint8Array): Regions {
    const regions = new Regions(length);
    if (bytes.length !== regions.bits.length)
      throw new VmError(`${bytes.length} bytes of bitmap, ${regions.bits.length} belong to it`);
    regions.load(0, bytes);
    return regions;
  }

  encode(): Buffer {
    return Buffer.from(this.bits);
  }

  /** Bytes of the bits from that one on; beyond the last region nothing is marked. */
  load(at: number, bytes: Uint8Array): void {
    this.bits.set(bytes.subarray(0, Math.max(0, this.bits.length - at)), at);
    const over = this.bits.length * 8 - this.count;
    if (over > 0) this.bits[this.bits.length - 1] &= 0xff >> over;
  }

  slice(at: number, length: number): Uint8Array {
    return this.bits.subarray(at, at + length);
  }

  /** Every region that the range touches is marked. For each write: no allocation. */
  covers(offset: number, length: number): boolean {
    const end = offset + length;
    for (let r = Math.floor(offset / this.regionBytes); r * this.regionBytes < end; r++)
      if ((this.bits[r >>> 3] & (1 << (r & 7))) === 0) return false;
    return true;
  }

  mark(offset: number, length: number): void {
    const end = Math.min(offset + length, this.length);
    for (let r = Math.floor(offset / this.regionBytes); r * this.regionBytes < end; r++)
      this.bits[r >>> 3] |= 1 << (r & 7);
  }

  has(region: number): boolean {
    return (this.bits[region >>> 3] & (1 << (region & 7))) !== 0;
  }

  add(other: Regions): void {
    for (let n = 0; n < this.bits.length; n++) this.bits[n] |= other.bits[n];
  }

  /** Only what is marked in both. */
  retain(other: Regions): void {
    for (let n = 0; n < this.bits.length; n++) this.bits[n] &= other.bits[n];
  }

  clear(): void {
    this.bits.fill(0);
  }

  get marked(): number {
    let count = 0;
    for (let r = 0; r < this.count; r++) if (this.has(r)) count++;
    return count;
  }

  /** Of the disk that are marked; the last region may be short. */
  get bytes(): number {
    return [...this.runs()].reduce((sum, { length }) => sum + length, 0);
  }

  /** By rising offset, adjacent ones joined. */
  *runs(): Generator<Range> {
    for (let r = 0; r < this.count; r++) {
      if (!this.has(r)) continue;
      const first = r;
      while (r < this.count && this.has(r)) r++;
      const offset = first * this.regionBytes;
      yield { offset, length: Math.min(r * this.regionBytes, this.length) - offset };
    }
  }
}
