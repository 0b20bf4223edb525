/**
 * The two rings of an 82540EM in guest memory (Software Developer's Manual, chapter 3): descriptors
 * of 16 bytes, from head to tail the card's.
 */
import type { GuestMemory } from '../../../accel/contract.js';

const BYTES = 16;
export const DESCRIPTOR_DONE = 0x01;

/** Where a ring is, by its registers. */
export interface RingPlace {
  readonly low: number;
  readonly high: number;
  readonly length: number;
  readonly head: number;
  readonly tail: number;
}

export class DescriptorRing {
  readonly count: number;
  /** The card's. 0 too where the guest's numbers make no sense. */
  readonly filled: number;
  private readonly base: number;

  constructor(
    private readonly ram: GuestMemory,
    private readonly place: RingPlace,
  ) {
    const { low, high, length, head, tail } = place;
    this.base = high * 2 ** 32 + low;
    this.count = length / BYTES;
    const sane = head < this.count && tail < this.count;
    this.filled = sane ? (tail - head + this.count) % this.count : 0;
  }

  /** No more fit: one is never used, for a full ring to differ from an empty one. */
  get full(): boolean {
    return this.filled === this.count - 1;
  }

  /** The head when n of them are done. */
  headAfter(n: number): number {
    return (this.place.head + n) % this.count;
  }

  /** Of the n-th from the head. */
  address(n: number): number {
    return this.base + BYTES * this.headAfter(n);
  }

  /** Its four words; undefined: it is not in memory. */
  read(n: number): number[] | undefined {
    const at = this.address(n);
    const words: number[] = [];
    for (let offset = 0; offset < BYTES; offset += 4) {
      const word = this.ram.readU32(at + offset);
      if (word === undefined) return undefined;
      words.push(word);
    }
    return words;
  }
}

export const addressOf = ([low, high]: readonly number[]): number => high * 2 ** 32 + low;
