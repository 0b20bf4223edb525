/**
 * Guest RAM without the addon: one range at 0, every write marked, and the same answers at its
 * edges. Pages that were never written cost nothing to copy, to hash or to compare.
 */
import type { DirtyLog, Mapping, PageCodec, PageRun, Ram } from '../../../src/accel/contract.js';
import { PlainPageCodec } from './page-codec.js';

export const PAGE_BYTES = 4096;
/** jest looks a global up the slow way. */
const { imul } = Math;
const zeroes = Buffer.alloc(PAGE_BYTES);

/** Memory of machines that are over, all zeroes again: to allocate it is what a run costs most. */
const spare = new Map<number, Buffer[]>();

/** The content of the pages that were written, as it was once. */
export type RamCopy = ReadonlyMap<number, Uint8Array>;

export class SimRam implements Ram {
  readonly bytes: Buffer;
  readonly pageCount: number;
  readonly dirtyLog: DirtyLog;
  readonly extraBytes = 0;
  /** What CPUs are to see, as it was said last. */
  map: readonly Mapping[] = [];
  /** Called before each write. */
  beforeWrite: (gpa: number, length: number) => void = () => undefined;
  private readonly touched: Uint8Array;
  private readonly words: Uint32Array;
  private readonly copies = new Map<number, Uint8Array>();
  /** Written since the last copy. */
  private readonly changed = new Set<number>();
  private readonly dirty = new Set<number>();

  constructor(readonly size = 1 << 20) {
    this.bytes = spare.get(size)?.pop() ?? Buffer.alloc(size);
    this.words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, size / 4);
    this.pageCount = size / PAGE_BYTES;
    this.touched = new Uint8Array(this.pageCount);
    this.dirtyLog = new SimDirtyLog(this.dirty, this.pageCount);
  }

  contains(gpa: number, length: number): boolean {
    return gpa >= 0 && length >= 0 && gpa < this.size && gpa + length <= this.size;
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    return this.contains(gpa, length) ? this.bytes.subarray(gpa, gpa + length) : undefined;
  }

  read(gpa: number, length: number): Buffer | undefined {
    const view = this.view(gpa, length);
    return view && Buffer.from(view);
  }

  write(gpa: number, bytes: Uint8Array): boolean {
    if (!this.mark(gpa, bytes.length)) return false;
    this.bytes.set(bytes, gpa);
    return true;
  }

  fill(gpa: number, length: number, value: number): boolean {
    if (!this.mark(gpa, length)) return false;
    this.bytes.fill(value, gpa, gpa + length);
    return true;
  }

  readU8(gpa: number): number | undefined {
    return this.contains(gpa, 1) ? this.bytes[gpa] : undefined;
  }

  readU16(gpa: number): number | undefined {
    return this.contains(gpa, 2) ? this.bytes.readUInt16LE(gpa) : undefined;
  }

  readU32(gpa: number): number | undefined {
    return this.contains(gpa, 4) ? this.bytes.readUInt32LE(gpa) : undefined;
  }

  readU64(gpa: number): bigint | undefined {
    return this.contains(gpa, 8) ? this.bytes.readBigUInt64LE(gpa) : undefined;
  }

  writeU8(gpa: number, value: number): boolean {
    if (!this.mark(gpa, 1)) return false;
    this.bytes[gpa] = value;
    return true;
  }

  writeU16(gpa: number, value: number): boolean {
    if (!this.mark(gpa, 2)) return false;
    this.bytes.writeUInt16LE(value & 0xffff, gpa);
    return true;
  }

  writeU32(gpa: number, value: number): boolean {
    if (!this.mark(gpa, 4)) return false;
    this.bytes.writeUInt32LE(value >>> 0, gpa);
    return true;
  }

  writeU64(gpa: number, value: bigint): boolean {
    if (!this.mark(gpa, 8)) return false;
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), gpa);
    return true;
  }

  markWritten(gpa: number, length: number): void {
    if (!this.mark(gpa, length)) throw new RangeError('markWritten: not RAM');
  }

  writeExtra(): void {
    throw new RangeError('there is nothing behind RAM');
  }

  readExtra(): Buffer {
    throw new RangeError('there is nothing behind RAM');
  }

  setMap(map: readonly Mapping[]): void {
    this.map = map;
  }

  gather(pages: Uint32Array, out: Uint8Array): void {
    pages.forEach((page, i) => out.set(this.page(page), i * PAGE_BYTES));
  }

  scatter(pages: Uint32Array, data: Uint8Array): void {
    pages.forEach((page, i) =>
      this.write(page * PAGE_BYTES, data.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)),
    );
  }

  zero(pages: Uint32Array): void {
    for (const page of pages)
      if (this.touched[page] === 1) this.fill(page * PAGE_BYTES, PAGE_BYTES, 0);
      else this.mark(page * PAGE_BYTES, PAGE_BYTES, false);
  }

  /** Pages of zeroes are taken for holes. */
  populated(): PageRun[] {
    return this.filled().map(page => ({ from: page, to: page + 1 }));
  }

  hash(): bigint {
    const { words } = this;
    let h = 2166136261;
    for (const page of this.filled()) {
      h = imul(h ^ page, 16777619);
      const end = (page + 1) * (PAGE_BYTES / 4);
      for (let at = page * (PAGE_BYTES / 4); at < end; at++) h = imul(h ^ words[at], 16777619);
    }
    return BigInt(h >>> 0);
  }

  pageCodec(): PageCodec {
    return new PlainPageCodec(page => this.page(page));
  }

  copy(): RamCopy {
    for (const page of this.changed) this.copies.set(page, Uint8Array.from(this.page(page)));
    this.changed.clear();
    return new Map(this.copies);
  }

  /** The first page that is not as it was then. */
  differsFrom(copy: RamCopy): number | undefined {
    for (const [page, was] of copy) if (this.page(page).compare(was) !== 0) return page;
    return this.filled().find(page => !copy.has(page));
  }

  /** Its machine is over: the memory is for the next one. */
  release(): void {
    for (const page of this.filled()) this.page(page).fill(0);
    this.touched.fill(0);
    spare.set(this.size, [...(spare.get(this.size) ?? []), this.bytes]);
  }

  page(page: number): Buffer {
    return this.bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  /** Those that are not all zeroes. */
  private filled(): number[] {
    const pages: number[] = [];
    for (let page = this.touched.indexOf(1); page >= 0; page = this.touched.indexOf(1, page + 1))
      if (this.page(page).compare(zeroes) !== 0) pages.push(page);
    return pages;
  }

  /** False: not RAM. holdsMemory: false for a page that stays a hole. */
  private mark(gpa: number, length: number, holdsMemory = true): boolean {
    if (!this.contains(gpa, length)) return false;
    if (length === 0) return true;
    this.beforeWrite(gpa, length);
    const end = gpa + length;
    for (let page = Math.floor(gpa / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      this.dirty.add(page);
      if (!holdsMemory) continue;
      this.touched[page] = 1;
      this.changed.add(page);
    }
    return true;
  }
}

class SimDirtyLog implements DirtyLog {
  active = false;

  constructor(
    private readonly dirty: Set<number>,
    private readonly pageCount: number,
  ) {}

  start(): void {
    this.active = true;
    this.dirty.clear();
  }

  stop(): void {
    this.active = false;
  }

  count(): number {
    return this.active ? this.dirty.size : this.pageCount;
  }

  take(): Uint32Array {
    const pages = Uint32Array.from(this.dirty).sort();
    this.dirty.clear();
    return pages;
  }

  restore(pages: Uint32Array): void {
    for (const page of pages) this.dirty.add(page);
  }
}
