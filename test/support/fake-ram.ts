/**
 * Guest RAM without the addon, for device tests: one range at 0, every write marked, and the same
 * answers at its edges.
 */
import { createHash } from 'node:crypto';
import type { DirtyLog, PageRun, Ram } from '../../src/accel/contract.js';

const PAGE = 4096;

export class FakeRam implements Ram {
  readonly bytes: Buffer;
  readonly pageCount: number;
  /** Every markWritten, in order: a test may ask what a device wrote. */
  readonly writes: { gpa: number; length: number }[] = [];
  private readonly dirty = new Set<number>();
  private logging = false;

  constructor(readonly size = 1 << 20) {
    this.bytes = Buffer.alloc(size);
    this.pageCount = size / PAGE;
  }

  readonly dirtyLog: DirtyLog = this.makeLog();

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
    return this.put(gpa, bytes.length, () => this.bytes.set(bytes, gpa));
  }

  fill(gpa: number, length: number, value: number): boolean {
    return this.put(gpa, length, () => this.bytes.fill(value, gpa, gpa + length));
  }

  readU8(gpa: number): number | undefined {
    return this.contains(gpa, 1) ? this.bytes.readUInt8(gpa) : undefined;
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
    return this.put(gpa, 1, () => this.bytes.writeUInt8(value & 0xff, gpa));
  }

  writeU16(gpa: number, value: number): boolean {
    return this.put(gpa, 2, () => this.bytes.writeUInt16LE(value & 0xffff, gpa));
  }

  writeU32(gpa: number, value: number): boolean {
    return this.put(gpa, 4, () => this.bytes.writeUInt32LE(value >>> 0, gpa));
  }

  writeU64(gpa: number, value: bigint): boolean {
    return this.put(gpa, 8, () => this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), gpa));
  }

  markWritten(gpa: number, length: number): void {
    if (!this.contains(gpa, length)) throw new RangeError('markWritten: not RAM');
    if (length === 0) return;
    this.writes.push({ gpa, length });
    for (let page = Math.floor(gpa / PAGE); page <= Math.floor((gpa + length - 1) / PAGE); page++)
      this.dirty.add(page);
  }

  gather(pages: Uint32Array, out: Uint8Array): void {
    pages.forEach((page, i) =>
      out.set(this.bytes.subarray(page * PAGE, (page + 1) * PAGE), i * PAGE),
    );
  }

  scatter(pages: Uint32Array, data: Uint8Array): void {
    pages.forEach((page, i) => this.write(page * PAGE, data.subarray(i * PAGE, (i + 1) * PAGE)));
  }

  zero(pages: Uint32Array): void {
    for (const page of pages) this.fill(page * PAGE, PAGE, 0);
  }

  /** Pages of zeroes are taken for holes. */
  populated(): PageRun[] {
    const held = (page: number) =>
      this.bytes.subarray(page * PAGE, (page + 1) * PAGE).some(byte => byte !== 0);
    return Array.from({ length: this.pageCount }, (_, page) => ({
      from: page,
      to: page + 1,
    })).filter(run => held(run.from));
  }

  hash(): bigint {
    return createHash('sha256').update(this.bytes).digest().readBigUInt64LE();
  }

  private put(gpa: number, length: number, store: () => void): boolean {
    if (!this.contains(gpa, length)) return false;
    store();
    this.markWritten(gpa, length);
    return true;
  }

  private makeLog(): DirtyLog {
    // The log's getter must see the RAM.
    // eslint-disable-next-line @typescript-eslint/no-this-alias
    const ram = this;
    return {
      get active() {
        return ram.logging;
      },
      start() {
        ram.logging = true;
        ram.dirty.clear();
      },
      stop() {
        ram.logging = false;
      },
      count: () => (ram.logging ? ram.dirty.size : ram.pageCount),
      take() {
        const pages = Uint32Array.from(ram.dirty).sort();
        ram.dirty.clear();
        return pages;
      },
      restore: pages => pages.forEach(page => ram.dirty.add(page)),
    };
  }
}
