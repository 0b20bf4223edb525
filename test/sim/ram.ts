/** RAM of a machine that is small enough to compare, and the log of the pages that were written. */
import type { DirtyLog, PageRun, Ram } from '../../src/accel/contract.js';

export const pageCount = 24;
export const pageBytes = 4096;
/** jest looks a global up the slow way. */
const { imul } = Math;
const zeroes = new Uint8Array(pageBytes);

export class SimRam {
  readonly bytes = new Uint8Array(pageCount * pageBytes);
  readonly size = this.bytes.length;
  readonly pageCount = pageCount;
  private dirty = new Set<number>();
  readonly dirtyLog: DirtyLog & { active: boolean } = {
    active: false,
    start: () => void (this.dirtyLog.active = true),
    stop: () => void (this.dirtyLog.active = false),
    count: () => this.dirty.size,
    take: () => {
      const pages = Uint32Array.from(this.dirty).sort();
      this.dirty = new Set();
      return pages;
    },
    restore: pages => pages.forEach(p => this.dirty.add(p)),
  };
  private readonly words = new Uint32Array(this.bytes.buffer);

  /** As colo and the lifecycle see it: they read and write it by pages only. */
  get face(): Ram {
    return this as unknown as Ram;
  }

  get(address: number): number {
    return this.words[address >> 2];
  }

  set(address: number, value: number): void {
    this.words[address >> 2] = value;
    if (this.dirtyLog.active) this.dirty.add(address >> 12);
  }

  /** Power-on: every page was written. */
  clear(): void {
    this.bytes.fill(0);
    if (this.dirtyLog.active) for (let page = 0; page < pageCount; page++) this.dirty.add(page);
  }

  gather(pages: Uint32Array, out: Uint8Array): void {
    pages.forEach((p, i) => out.set(this.page(p), i * pageBytes));
  }

  scatter(pages: Uint32Array, data: Uint8Array): void {
    pages.forEach((p, i) => this.page(p).set(data.subarray(i * pageBytes, (i + 1) * pageBytes)));
  }

  zero(pages: Uint32Array): void {
    pages.forEach(p => this.page(p).fill(0));
  }

  /** Pages of zeroes are taken for holes. */
  populated(): PageRun[] {
    const all = Array.from({ length: pageCount }, (_, page) => ({ from: page, to: page + 1 }));
    return all.filter(run => Buffer.compare(this.page(run.from), zeroes) !== 0);
  }

  hash(): bigint {
    let h = 2166136261;
    for (const word of this.words) h = imul(h ^ word, 16777619);
    return BigInt(h >>> 0);
  }

  private page(page: number): Uint8Array {
    return this.bytes.subarray(page * pageBytes, (page + 1) * pageBytes);
  }
}
