/**
 * The primary's writes on their way to the replica: copied, bounded, in order, by epochs. What was
 * taken before cut() flows; what comes after it is held until committed() or aborted(), so that the
 * replica's undo data stays exact. Two overlapping writes are never in flight together, for the
 * replica may finish them in any order.
 */
import { assert, asVmError, VmError } from '../../../base/errors.js';
import { unlessAssertion } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';

interface Item {
  readonly epoch: number;
  readonly offset: number;
  readonly length: number;
  /** Undefined: zeroes. */
  readonly data?: Uint8Array;
}

export interface ForwardLimits {
  /** Writes and bytes that may wait or be in flight; beyond, guest completions wait. */
  requests: number;
  bytes: number;
  inFlight: number;
  /**
   * What a guest that is to stop may add at once: everything that its device can have under way.
   */
  stopping: { requests: number; bytes: number };
}

/**
 * 64 MiB hold half a second of a 1 Gbit/s link; the request bound keeps bookkeeping small when
 * writes are.
 */
export const defaultForwardLimits: ForwardLimits = {
  requests: 4096,
  bytes: 64 * 1024 * 1024,
  inFlight: 32,
  // virtio-blk: 64 MiB and the request that passes it; 256 requests, in pieces, with 16 ranges
  // each.
  stopping: { requests: 8192, bytes: 96 * 1024 * 1024 },
};

interface CutWaiter {
  resolve: (count: number) => void;
  reject: (error: Error) => void;
}

export class ForwardQueue {
  private items: Item[] = [];
  private readonly inFlight = new Set<Item>();
  /** Admitted and not yet acknowledged. */
  private requests = 0;
  private bytes = 0;
  /** In order of arrival. patient: in room(), where only the lower bound counts. */
  private waiting: { length: number; patient: boolean; go: () => void }[] = [];
  /**
   * The number of those that wait for the writes under way. While it is not zero the higher bound
   * counts.
   */
  private drains = 0;
  /**
   * The epoch that flows to the replica, and the one that new writes belong to: equal, or one apart
   * between cut and commit.
   */
  private flowing = 0;
  private writing = 0;
  private acknowledged = 0;
  private acknowledgedEver = 0;
  private cutWaiter?: CutWaiter;
  private failure?: VmError;

  constructor(
    private readonly replica: BlockNode,
    private readonly limits: ForwardLimits,
    /** Called once, with every range that the replica may not have. */
    private readonly onFailure: (
      error: VmError,
      lost: { offset: number; length: number }[],
    ) => void,
  ) {}

  get error(): VmError | undefined {
    return this.failure;
  }

  get pendingBytes(): number {
    return this.bytes;
  }

  get pendingRequests(): number {
    return this.requests;
  }

  /** Grows with every write that the replica has. */
  get progress(): number {
    return this.acknowledgedEver;
  }

  /**
   * The guest stops: its writes are in the local disk and copied already, so what waits at the
   * bound comes in at once. Otherwise the guest would stand still until the wire has taken that
   * much. Returns the way back.
   */
  drainBegin(): () => void {
    this.drains++;
    this.admitWaiting();
    let over = false;
    return () => {
      if (!over) this.drains--;
      over = true;
    };
  }

  /**
   * For a caller without a time limit: resolves when its turn has come and the queue is below its
   * bound, drained or not.
   */
  async room(): Promise<void> {
    if (this.failure || (this.waiting.length === 0 && this.fitsBelow(this.limits, 0))) return;
    await new Promise<void>(go => this.waiting.push({ length: 0, patient: true, go }));
  }

  /**
   * Takes over the data. Resolves true when the write is in the queue, false when the queue has
   * failed and it is not. atOnce: after room(), in small numbers.
   */
  async push(offset: number, length: number, data?: Uint8Array, atOnce = false): Promise<boolean> {
    if (this.failure) return false;
    const size = data?.length ?? 0;
    if (!atOnce && !this.mayEnter(size)) {
      await new Promise<void>(go => this.waiting.push({ length: size, patient: false, go }));
      if (this.failure) return false;
    } else this.admit(size);
    this.items.push({ epoch: this.writing, offset, length, data });
    this.pump();
    return true;
  }

  cut(): Promise<number> {
    if (this.writing !== this.flowing) this.aborted();
    this.writing = this.flowing + 1;
    const done = new Promise<number>((resolve, reject) => (this.cutWaiter = { resolve, reject }));
    done.catch(() => undefined);
    if (this.failure) this.cutWaiter!.reject(this.failure);
    this.settleCut();
    return done;
  }

  committed(): void {
    if (this.failure) return;
    assert(
      this.cutWaiter === undefined,
      'committed before every write of the epoch was acknowledged',
    );
    this.acknowledged = 0;
    this.flow();
  }

  /** The checkpoint was given up: its writes and the held ones form one epoch. */
  aborted(): void {
    this.cutWaiter?.reject(new VmError('the checkpoint was given up'));
    this.cutWaiter = undefined;
    this.flow();
  }

  /** Ends the queue: no further write is sent, and every wait ends. */
  fail(error: VmError): void {
    if (this.failure) return;
    this.failure = error;
    const lost = [...this.inFlight, ...this.items].map(({ offset, length }) => ({
      offset,
      length,
    }));
    this.items = [];
    this.bytes = 0;
    this.requests = 0;
    this.cutWaiter?.reject(error);
    this.cutWaiter = undefined;
    this.onFailure(error, lost);
    for (const { go } of this.waiting.splice(0)) go();
  }

  private flow(): void {
    this.flowing = this.writing;
    this.pump();
  }

  /** A write longer than the bound passes alone. */
  private fits(length: number): boolean {
    if (this.requests === 0 || this.fitsBelow(this.limits, length)) return true;
    const { limits } = this;
    return (
      this.drains > 0 &&
      this.fitsBelow(
        {
          requests: limits.requests + limits.stopping.requests,
          bytes: limits.bytes + limits.stopping.bytes,
        },
        length,
      )
    );
  }

  /** The order of waiting is kept, unless the guest stops. */
  private mayEnter(length: number): boolean {
    if (this.drains === 0 && this.waiting.length > 0) return false;
    return !this.waiting.some(({ patient }) => !patient) && this.fits(length);
  }

  private fitsBelow(
    { requests, bytes }: { requests: number; bytes: number },
    length: number,
  ): boolean {
    return this.requests < requests && this.bytes + length <= bytes;
  }

  private admit(length: number): void {
    this.requests++;
    this.bytes += length;
  }

  private pump(): void {
    while (!this.failure && this.items.length > 0 && this.inFlight.size < this.limits.inFlight) {
      const head = this.items[0];
      if (head.epoch > this.flowing || this.overlapsInFlight(head)) break;
      this.items.shift();
      this.inFlight.add(head);
      void this.send(head);
    }
  }

  private overlapsInFlight(item: Item): boolean {
    for (const other of this.inFlight)
      if (other.offset < item.offset + item.length && item.offset < other.offset + other.length)
        return true;
    return false;
  }

  private async send(item: Item): Promise<void> {
    try {
      if (item.data) await this.replica.pwrite(item.offset, item.data);
      else await this.replica.writeZeroes(item.offset, item.length);
    } catch (error) {
      this.fail(
        asVmError(unlessAssertion(error)).during(
          `forwarding ${item.length} bytes at ${item.offset} to the replica`,
        ),
      );
    }
    this.inFlight.delete(item);
    if (this.failure) return;
    this.bytes -= item.data?.length ?? 0;
    this.requests--;
    this.acknowledged++;
    this.acknowledgedEver++;
    this.admitWaiting();
    this.settleCut();
    this.pump();
  }

  /** Order is kept, but that a guest which stops passes those who are patient. */
  private admitWaiting(): void {
    const stay: typeof this.waiting = [];
    for (const next of this.waiting.splice(0)) {
      const blocked = stay.some(({ patient }) => this.drains === 0 || !patient);
      if (blocked || !(next.patient ? this.fitsBelow(this.limits, 0) : this.fits(next.length)))
        stay.push(next);
      else {
        if (!next.patient) this.admit(next.length);
        next.go();
      }
    }
    this.waiting = stay;
  }

  private settleCut(): void {
    if (!this.cutWaiter || this.inFlight.size > 0) return;
    if (this.items.length > 0 && this.items[0].epoch <= this.flowing) return;
    this.cutWaiter.resolve(this.acknowledged);
    this.cutWaiter = undefined;
  }
}
