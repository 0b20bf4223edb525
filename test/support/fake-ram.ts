/** Guest RAM for device tests: it remembers what was written. */
import type { VideoMemory } from '../../src/accel/contract.js';
import { SimRam } from './sim/ram.js';

export class FakeRam extends SimRam {
  /** Every write, in order: a test may ask what a device wrote. */
  readonly writes: { gpa: number; length: number }[] = [];

  /** A graphics card's. */
  readonly video = new FakeVideo();

  override beforeWrite = (gpa: number, length: number) => {
    if (length > 0) this.writes.push({ gpa, length });
  };
}

export class FakeVideo implements VideoMemory {
  readonly bytes = Buffer.alloc(1 << 20);
  /** Where the guest has it. */
  at: number | undefined;
  /** Bytes that were said to be written. */
  marked = 0;

  markWritten(offset: number, length: number): void {
    if (!(offset >= 0 && length > 0 && offset + length <= this.bytes.length))
      throw new RangeError('not of the card');
    this.marked += length;
  }

  map(gpa: number | undefined): void {
    this.at = gpa;
  }
}
