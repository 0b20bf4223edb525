/**
 * The primary's writes on their way to the replica: copied, bounded, in order, by epochs. What was taken before cut() flows; what comes
 * after it is held until committed() or aborted(), so that the replica's undo data stays exact. Two overlapping writes are never in
 * flight together, for the replica may finish them in any order.
 */
import { assert, asVmError, VmError } from '../base/errors.js';
import { unlessAssertion } from './io-error.js';
import type { BlockNode } from './node.js';

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
}

/** 64 MiB hold half a second of a 1 Gbit/s link; the request bound keeps bookkeeping small when writes are. */
export const defaultForwardLimits: ForwardLimits = { requests: 4096, bytes: 64 * 1024 * 1024, inFlight: 32 };

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
  private readonly waiting: { length: number; go: () => void }[] = [];
  /** The epoch that flows to the replica, and the one that new writes belong to: equal, or one apart between cut and commit. */
  private flowing = 0;
  private writing = 0;
  private acknowledged = 0;
  private cutWaiter?: CutWaiter;
  private failure?: VmError;

  constructor(
    private readonly replica: BlockNode,
    private readonly limits: ForwardLimits,
    /** Called once, with every range that the replica may not have. */
    private readonly onFailure: (error: VmError, lost: { offset: number; length: number }[]) => void,
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

  /** Takes over the data. Resolves true when the write is in the queue, false when the queue has failed and it is not. */
  async push(offset: number, length: number, data?: Uint8Array): Promise<boolean> {
    if (this.failure) return false;
    const size = data?.length ?? 0;
    if (this.waiting.length > 0 || !this.fits(size)) {
      await new Promise<void>(go => this.waiting.push({ length: size, go }));
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
    assert(this.cutWaiter === undefined, 'committed before every write of the epoch was acknowledged');
    this.acknowledged = 0;
    this.flow();
  }

  /** The checkpoint was given up: its writes and the held ones form one epoch. */
  aborted(): void {
    this.cutWaiter?.reject(new VmError('the checkpoint was given up'));
    this.cutWaiter = undefined;
    this.flow();
  }

  /** Ends it: nothing more is sent, nobody waits any longer. */
  fail(error: VmError): void {
    if (this.failure) return;
    this.failure = error;
    const lost = [...this.inFlight, ...this.items].map(({ offset, length }) => ({ offset, length }));
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
    return this.requests === 0 || (this.requests < this.limits.requests && this.bytes + length <= this.limits.bytes);
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
    for (const other of this.inFlight) if (other.offset < item.offset + item.length && item.offset < other.offset + other.length) return true;
    return false;
  }

  private async send(item: Item): Promise<void> {
    try {
      if (item.data) await this.replica.pwrite(item.offset, item.data);
      else await this.replica.writeZeroes(item.offset, item.length);
    } catch (error) {
      this.fail(asVmError(unlessAssertion(error)).during(`forwarding ${item.length} bytes at ${item.offset} to the replica`));
    }
    this.inFlight.delete(item);
    if (this.failure) return;
    this.bytes -= item.data?.length ?? 0;
    this.requests--;
    this.acknowledged++;
    this.admitWaiting();
    this.settleCut();
    this.pump();
  }

  private admitWaiting(): void {
    while (this.waiting.length > 0 && this.fits(this.waiting[0].length)) {
      const next = this.waiting.shift()!;
      this.admit(next.length);
      next.go();
    }
  }

  private settleCut(): void {
    if (!this.cutWaiter || this.inFlight.size > 0) return;
    if (this.items.length > 0 && this.items[0].epoch <= this.flowing) return;
    this.cutWaiter.resolve(this.acknowledged);
    this.cutWaiter = undefined;
  }
}
