/**
 * Which parts of a disk are marked, one bit for each piece of `granularity` bytes: what a job still
 * has to copy, what was written since a backup.
 */
import { assert, VmError } from '../../base/errors.js';
import { CLUSTER } from '../contract/driver.js';
import type { Range } from '../record/regions.js';

/** A bitmap is no larger; a longer disk needs a coarser one. */
const MAX_BITMAP_BYTES = 64 * 1024 * 1024;

export class DirtyBitmap {
  private readonly bits: Uint8Array;
  private marked = 0;

  constructor(
    readonly length: number,
    readonly granularity: number = CLUSTER,
  ) {
    const bytes = Math.ceil(length / granularity / 8);
    if (bytes > MAX_BITMAP_BYTES)
      throw new VmError(
        `a disk of ${length} bytes is too long for a bitmap of granularity ${granularity}`,
        { hint: 'Take a coarser granularity.' },
      );
    this.bits = new Uint8Array(bytes);
  }

  /** Pieces marked. */
  get count(): number {
    return this.marked;
  }

  /** Of the disk that are marked: its last piece may be short. */
  get bytes(): number {
    const last = Math.floor((this.length - 1) / this.granularity);
    const beyond =
      this.length > 0 && this.hasPiece(last) ? (last + 1) * this.granularity - this.length : 0;
    return this.marked * this.granularity - beyond;
  }

  has(offset: number): boolean {
    return this.hasPiece(Math.floor(offset / this.granularity));
  }

  mark(offset: number, length: number): void {
    const [first, end] = this.pieces(offset, length);
    for (let p = first; p < end; p++) {
      if (p % 8 === 0 && end - p >= 8 && this.bits[p >>> 3] === 0) {
        this.bits[p >>> 3] = 0xff;
        this.marked += 8;
        p += 7;
      } else if (!this.hasPiece(p)) {
        this.bits[p >>> 3] |= 1 << (p & 7);
        this.marked++;
      }
    }
  }

  /** Every piece that the range touches. */
  clear(offset: number, length: number): void {
    const [first, end] = this.pieces(offset, length);
    for (let p = first; p < end; p++) {
      if (!this.hasPiece(p)) continue;
      this.bits[p >>> 3] &= ~(1 << (p & 7));
      this.marked--;
    }
  }

  clearAll(): void {
    this.bits.fill(0);
    this.marked = 0;
  }

  /** What is marked in another bitmap of the same disk, whatever its granularity. */
  merge(other: DirtyBitmap): void {
    for (const { offset, length } of other.runs()) this.mark(offset, length);
  }

  /** Only what is marked in both, of one granularity. */
  retain(other: DirtyBitmap): void {
    assert(
      other.granularity === this.granularity && other.length === this.length,
      'bitmaps of one kind',
    );
    for (const { offset, length } of [...this.runs()]) {
      for (let at = offset; at < offset + length; at += this.granularity)
        if (!other.has(at)) this.clear(at, 1);
    }
  }

  /**
   * The first marked run at or after `from`, of at most maxBytes; past the end it goes on at the
   * beginning. Undefined: nothing is marked.
   */
  run(from: number, maxBytes: number): Range | undefined {
    if (this.marked === 0) return undefined;
    return this.runFrom(this.next(Math.floor(from / this.granularity)) ?? this.next(0)!, maxBytes);
  }

  /** The first marked run that begins in the range. */
  runWithin(offset: number, length: number, maxBytes: number): Range | undefined {
    const [first, end] = this.pieces(offset, length);
    for (let p = first; p < end; p++)
      if (this.hasPiece(p))
        return this.runFrom(p, Math.min(maxBytes, (end - p) * this.granularity));
    return undefined;
  }

  /** All marked runs, by rising offset. */
  *runs(): Generator<Range> {
    for (let at = this.next(0); at !== undefined;) {
      let end = at;
      while (end * this.granularity < this.length && this.hasPiece(end)) end++;
      yield this.range(at, end);
      at = this.next(end);
    }
  }

  private runFrom(first: number, maxBytes: number): Range {
    const most = Math.max(1, Math.floor(maxBytes / this.granularity));
    let end = first;
    while (end - first < most && end * this.granularity < this.length && this.hasPiece(end)) end++;
    return this.range(first, end);
  }

  private range(first: number, end: number): Range {
    const offset = first * this.granularity;
    return { offset, length: Math.min(end * this.granularity, this.length) - offset };
  }

  private next(from: number): number | undefined {
    const all = this.bits.length * 8;
    for (let p = from; p < all; p++) {
      if (p % 8 === 0 && this.bits[p >>> 3] === 0) p += 7;
      else if (this.hasPiece(p)) return p;
    }
    return undefined;
  }

  private hasPiece(piece: number): boolean {
    return (this.bits[piece >>> 3] & (1 << (piece & 7))) !== 0;
  }

  private pieces(offset: number, length: number): [number, number] {
    if (length <= 0) return [0, 0];
    return [
      Math.floor(offset / this.granularity),
      Math.min(
        Math.ceil((offset + length) / this.granularity),
        Math.ceil(this.length / this.granularity),
      ),
    ];
  }
}
