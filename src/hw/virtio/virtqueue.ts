/**
 * Split virtqueue, device side (virtio 1.1, section 2.6), with indirect descriptors and event
 * indices. Every value in guest memory is untrusted: whatever the driver may not do breaks the
 * queue, its owner sets DEVICE_NEEDS_RESET, and nothing throws.
 */
import { VmError } from '../../base/errors.js';
import type { GuestMemory } from '../../accel/contract.js';
import { bool8, type Field, record, u16, u64 } from '../../fields/field.js';
import { Chain } from './chain.js';

const Desc = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
const DESC_SIZE = 16;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
/** Descriptors in one chain, indirect ones included; drivers stay far below. */
const MAX_CHAIN = 1024;
export const MAX_QUEUE_SIZE = 256;

const layout = record({
  size: u16.initially(MAX_QUEUE_SIZE),
  enabled: bool8,
  vector: u16.initially(0xffff),
  desc: u64,
  driver: u64,
  device: u64,
  /** Next entry of the available ring that we have not taken. */
  lastAvail: u16,
  /** Our copy of the used ring's index. */
  usedIdx: u16,
  /** Used index at the last interrupt decision; valid after the first. */
  signalled: u16,
  signalledValid: bool8,
});
export type QueueState = ReturnType<typeof layout.reset>;
export const queueField: Field<QueueState> = {
  ...layout,
  read(r, version) {
    const s = layout.read(r, version);
    if (!validQueueSize(s.size))
      throw new VmError(`size: ${s.size} is not a power of two up to ${MAX_QUEUE_SIZE}`);
    return s;
  },
};

export const validQueueSize = (size: number) =>
  size > 0 && size <= MAX_QUEUE_SIZE && (size & (size - 1)) === 0;

/**
 * A full barrier between our store to the ring and our load from it: the driver runs on another
 * thread.
 */
const barrier = new Int32Array(new SharedArrayBuffer(4));
const fullBarrier = () => void Atomics.add(barrier, 0, 0);

export class Virtqueue {
  private desc = 0;
  private driver = 0;
  private device = 0;
  private live: QueueState;
  /** Why the queue is broken; the owner resets the device. */
  fault: string | undefined;
  eventIdx = false;
  indirect = false;

  constructor(
    private readonly ram: GuestMemory,
    readonly index: number,
    state: QueueState,
  ) {
    this.live = state;
    this.bind(state);
  }

  /** Takes over a state (after reset, enable or load). */
  bind(state: QueueState): void {
    this.live = state;
    this.fault = undefined;
    if (!state.enabled) return;
    this.desc = address(state.desc);
    this.driver = address(state.driver);
    this.device = address(state.device);
    const { size } = state;
    const ok =
      this.desc % 16 === 0 &&
      this.driver % 2 === 0 &&
      this.device % 4 === 0 &&
      this.ram.contains(this.desc, DESC_SIZE * size) &&
      this.ram.contains(this.driver, 6 + 2 * size) &&
      this.ram.contains(this.device, 6 + 8 * size);
    if (!ok) this.fault = 'rings are misaligned or outside RAM';
  }

  get state(): QueueState {
    return this.live;
  }

  get usable(): boolean {
    return this.live.enabled && this.fault === undefined;
  }

  /** Available chains that we have not taken. */
  get pending(): number {
    if (!this.usable) return 0;
    const count = (this.ram.readU16(this.driver + 2)! - this.live.lastAvail) & 0xffff;
    if (count <= this.live.size) return count;
    this.fault = `available index is ${count} ahead of a ring of ${this.live.size}`;
    return 0;
  }

  /** The next chain, or undefined: nothing there, or the queue just broke. */
  pop(): Chain | undefined {
    if (this.pending === 0) return undefined;
    const { lastAvail, size } = this.live;
    const head = this.ram.readU16(this.driver + 4 + 2 * (lastAvail & (size - 1)))!;
    const chain = new Chain(head);
    if (!this.walk(chain, this.desc, size, head, false)) return undefined;
    this.live.lastAvail = (lastAvail + 1) & 0xffff;
    return chain;
  }

  /**
   * A chain that was popped before, again from its head; undefined: the driver has broken it
   * meanwhile, and so the queue.
   */
  reopen(head: number): Chain | undefined {
    const chain = new Chain(head);
    return this.usable && this.walk(chain, this.desc, this.live.size, head, false)
      ? chain
      : undefined;
  }

  /** Gives the last n popped chains back, untouched. */
  unpop(n: number): void {
    this.live.lastAvail = (this.live.lastAvail - n) & 0xffff;
  }

  /** Returns a chain, with the number of bytes written to it. */
  push(chain: Chain, written: number): void {
    this.fill(0, chain, written);
    this.flush(1);
  }

  /** The n-th of several chains that become visible together. */
  fill(n: number, chain: Chain, written: number): void {
    const at = this.device + 4 + 8 * ((this.live.usedIdx + n) & (this.live.size - 1));
    this.ram.writeU32(at, chain.head);
    this.ram.writeU32(at + 4, written);
  }

  flush(n: number): void {
    this.live.usedIdx = (this.live.usedIdx + n) & 0xffff;
    this.ram.writeU16(this.device + 2, this.live.usedIdx);
  }

  /** After flush: does the driver want an interrupt (section 2.6.7)? */
  wantsInterrupt(): boolean {
    if (!this.usable) return false;
    fullBarrier();
    const s = this.live;
    if (!this.eventIdx) return (this.ram.readU16(this.driver)! & NO_INTERRUPT) === 0;
    const event = this.ram.readU16(this.driver + 4 + 2 * s.size)!;
    const wanted =
      !s.signalledValid ||
      ((s.usedIdx - event - 1) & 0xffff) < ((s.usedIdx - s.signalled) & 0xffff);
    s.signalled = s.usedIdx;
    s.signalledValid = true;
    return wanted;
  }

  /** No doorbells, please: we are polling. */
  disableNotify(): void {
    if (this.usable && !this.eventIdx) this.ram.writeU16(this.device, NO_NOTIFY);
  }

  /**
   * Doorbells again, for more than the `known` chains that we have seen and left. True: more came
   * in meanwhile, poll once more.
   */
  enableNotify(known = 0): boolean {
    if (!this.usable) return false;
    if (this.eventIdx)
      this.ram.writeU16(
        this.device + 4 + 8 * this.live.size,
        (this.live.lastAvail + known) & 0xffff,
      );
    else this.ram.writeU16(this.device, 0);
    fullBarrier();
    return this.pending > known;
  }

  private broken(why: string): false {
    this.fault = why;
    return false;
  }

  private walk(
    chain: Chain,
    table: number,
    entries: number,
    first: number,
    nested: boolean,
  ): boolean {
    let index = first;
    for (let seen = 0; ; seen++) {
      if (index >= entries) return this.broken(`descriptor ${index} in a table of ${entries}`);
      if (seen >= entries || (chain.readable.length + chain.writable.length) / 2 >= MAX_CHAIN)
        return this.broken('descriptor chain loops');
      const at = table + DESC_SIZE * index;
      const flags = this.ram.readU16(at + 12)!;
      if ((flags & Desc.INDIRECT) !== 0) return this.walkIndirect(chain, at, flags, nested);
      if (!this.add(chain, at, flags)) return false;
      if ((flags & Desc.NEXT) === 0) return true;
      index = this.ram.readU16(at + 14)!;
    }
  }

  /** Section 2.6.5.3: the table's descriptor ends the chain; tables do not nest. */
  private walkIndirect(chain: Chain, at: number, flags: number, nested: boolean): boolean {
    if (!this.indirect || nested) return this.broken('indirect descriptor where none may be');
    if ((flags & Desc.NEXT) !== 0) return this.broken('indirect descriptor with a next one');
    const length = this.ram.readU32(at + 8)!;
    const gpa = this.gpa(at);
    if (length === 0 || length % DESC_SIZE !== 0)
      return this.broken(`indirect table of ${length} bytes`);
    if (gpa < 0 || !this.ram.contains(gpa, length))
      return this.broken('indirect table outside RAM');
    return this.walk(chain, gpa, length / DESC_SIZE, 0, true);
  }

  private add(chain: Chain, at: number, flags: number): boolean {
    const gpa = this.gpa(at);
    const length = this.ram.readU32(at + 8)!;
    if (length === 0 || gpa < 0 || !this.ram.contains(gpa, length))
      return this.broken(`buffer 0x${gpa.toString(16)}+${length} is not RAM`);
    if ((flags & Desc.WRITE) !== 0) {
      chain.writable.push(gpa, length);
      chain.writeLength += length;
    } else {
      if (chain.writable.length > 0) return this.broken('readable descriptor after a writable one');
      chain.readable.push(gpa, length);
      chain.readLength += length;
    }
    return true;
  }

  /** 64 bits as two numbers; what exceeds 2^53 is no RAM of ours, and neither is -1. */
  private gpa(at: number): number {
    const high = this.ram.readU32(at + 4)!;
    return high > 0x1f_ffff ? -1 : this.ram.readU32(at)! + high * 0x1_0000_0000;
  }
}

/** Rings beyond 2^52 are outside RAM and stay so: an odd address is misaligned in any case. */
function address(value: bigint): number {
  return value >= 1n << 52n ? 1 : Number(value);
}
