/**
 * Guest-physical ranges that are devices, and who answers each. A handful of ranges: a sorted array
 * and the last hit are enough.
 */
import { assert } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import { event, tracer } from '../base/trace.js';
import { allOnes, lowBytes } from '../base/unsigned.js';
import type { MmioHandler } from './contract.js';

const trace = tracer('mmio', {
  unmapped_read: event<{ gpa: number; size: number }>(),
  unmapped_write: event<{ gpa: number; size: number; value: number }>(),
});

interface Range {
  base: number;
  length: number;
  handler: MmioHandler;
  name: string;
}

export class MmioSpace {
  private ranges: Range[] = [];
  private last: Range | undefined;

  /** Overlap is our mistake. */
  map(name: string, base: number, length: number, handler: MmioHandler): Disposable {
    const mapped = this.tryMap(name, base, length, handler);
    assert(mapped, `0x${base.toString(16)}+${length} of ${name} is free`);
    return mapped;
  }

  /** The same for ranges that the guest places: undefined if any byte is taken. */
  tryMap(name: string, base: number, length: number, handler: MmioHandler): Disposable | undefined {
    if (length <= 0 || !Number.isSafeInteger(base + length)) return undefined;
    if (this.ranges.some(range => base < range.base + range.length && range.base < base + length))
      return undefined;
    const range: Range = { base, length, handler, name };
    this.ranges = [...this.ranges, range].sort((a, b) => a.base - b.base);
    return {
      dispose: () => {
        this.ranges = this.ranges.filter(other => other !== range);
        if (this.last === range) this.last = undefined;
      },
    };
  }

  /** Sizes 1, 2, 4; 8 is split by the bus. Hot: no allocation. */
  read(gpa: number, size: number): number {
    const range = this.find(gpa);
    if (range === undefined || gpa - range.base + size > range.length) {
      trace.unmapped_read?.({ gpa, size });
      return allOnes(size);
    }
    const value = range.handler.mmioRead(gpa - range.base, size);
    return lowBytes(value, size);
  }

  write(gpa: number, size: number, value: number): void {
    const range = this.find(gpa);
    if (range === undefined || gpa - range.base + size > range.length) {
      trace.unmapped_write?.({ gpa, size, value });
      return;
    }
    range.handler.mmioWrite(gpa - range.base, size, value);
  }

  /** What is mapped, by address. */
  list(): { name: string; base: number; length: number }[] {
    return this.ranges.map(({ name, base, length }) => ({ name, base, length }));
  }

  private find(gpa: number): Range | undefined {
    const last = this.last;
    if (last !== undefined && gpa >= last.base && gpa < last.base + last.length) return last;
    for (const range of this.ranges) {
      if (gpa < range.base) return undefined;
      if (gpa < range.base + range.length) return (this.last = range);
    }
    return undefined;
  }
}
