/**
 * The engine under every job: copies what a bitmap marks from one node to another, several pieces
 * at once, within a bound of bytes, at the job's speed and by its policies. A piece loses its mark
 * before it is read, so that a write that comes meanwhile marks it again.
 */
import { VmError } from '../../base/errors.js';
import type { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';
import type { Range } from '../record/regions.js';
import { isZero } from '../contract/driver.js';
import { unlessAssertion } from '../contract/io-error.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode } from '../contract/node.js';
import type { ErrorPolicy } from '../contract/backend.js';
import type { Job } from './job.js';

const PIECE = 1024 * 1024;
const MAX_IN_FLIGHT = 16;
/** A piece that failed, with the policy `ignore`, is tried again after this time. */
const RETRY_MS = 100;
/**
 * A guest that writes without end keeps so much marked at most, for so long, before it counts as
 * copied.
 */
const RESIDUE_BYTES = 1024 * 1024;
const RESIDUE_MS = 1000;

export interface CopyPolicies {
  readonly onSourceError: ErrorPolicy;
  readonly onTargetError: ErrorPolicy;
}

interface Flight extends Range {
  readonly done: Promise<void>;
}

/** Where the copy goes. */
export interface CopyTarget {
  /** data undefined: zeroes. */
  readonly write: (offset: number, length: number, data: Buffer | undefined) => Promise<void>;
  /** Parts of a piece are not written by themselves. */
  readonly unit: number;
}

/** What the failure of a piece says. */
class TransferError extends Error {
  constructor(
    readonly operation: 'read' | 'write',
    readonly reason: unknown,
  ) {
    super();
  }
}

export class BlockCopy {
  private readonly flights = new Set<Flight>();
  private copied = 0;
  private failure?: { error: unknown };
  private retryLater = false;

  constructor(
    private readonly job: Job,
    private readonly source: BlockNode,
    private readonly target: CopyTarget,
    readonly todo: DirtyBitmap,
    private readonly policies: CopyPolicies,
    private readonly clock: Clock,
  ) {}

  /** Into clusters that are packed: each is read as a whole, whatever parts its source has. */
  static packed(target: BlockNode, cluster: number): CopyTarget {
    const write = async (offset: number, length: number, data: Buffer | undefined) => {
      if (!data) return target.writeZeroes(offset, length);
      for (let at = 0; at < length; at += cluster)
        await target.writeCompressed(
          offset + at,
          data.subarray(at, Math.min(at + cluster, length)),
        );
    };
    return { write, unit: cluster };
  }

  /** Into a node: runs of zeroes as such. */
  static into(target: BlockNode): CopyTarget {
    return {
      write: (offset, length, data) =>
        data ? target.pwrite(offset, data) : target.writeZeroes(offset, length),
      unit: 1,
    };
  }

  /**
   * Copies until nothing is marked and nothing is under way, or only what a busy guest marks again
   * and again.
   */
  async run(): Promise<void> {
    let at = 0;
    let nearSinceMs: number | undefined;
    const goal = this.copied + this.todo.bytes;
    try {
      for (;;) {
        if (this.copied < goal || this.todo.bytes > RESIDUE_BYTES) nearSinceMs = undefined;
        else nearSinceMs ??= this.clock.nowMs();
        if (nearSinceMs !== undefined && this.clock.nowMs() - nearSinceMs > RESIDUE_MS) break;
        await this.obey();
        const next = this.todo.run(at, Math.min(PIECE, this.job.sliceBytes));
        if (!next && this.flights.size === 0) break;
        if (!next || this.flights.size >= MAX_IN_FLIGHT || this.overlaps(next)) {
          await Promise.race([...this.flights].map(flight => flight.done));
          continue;
        }
        if (!(await this.job.admit(next.length))) continue;
        // A write may have come in between, and copied its piece first.
        const piece = this.todo.runWithin(next.offset, next.length, next.length);
        if (piece && !this.overlaps(piece)) void this.launch(piece, false).done;
        at = next.offset + next.length;
      }
    } finally {
      await this.settle();
    }
    if (this.failure) throw this.failure.error;
  }

  /** At once, past speed and pauses: what is left, with the source at rest. */
  async rest(): Promise<void> {
    await this.ahead(0, this.source.length);
  }

  /**
   * Copies what is marked in the range, and awaits what is being copied there. A failure ends the
   * job, whatever its policies are.
   */
  async ahead(offset: number, length: number): Promise<void> {
    const range = { offset: offset - (offset % this.todo.granularity), length: 0 };
    range.length =
      Math.min(
        Math.ceil((offset + length) / this.todo.granularity) * this.todo.granularity,
        this.source.length,
      ) - range.offset;
    while (!this.failure) {
      const other = [...this.flights].find(flight => overlap(flight, range));
      const piece = other ? undefined : this.todo.runWithin(range.offset, range.length, PIECE);
      if (!other && !piece) return;
      await (other ?? this.launch(piece!, true)).done;
    }
    throw this.failure.error;
  }

  /** From now on it copies nothing more, and the job ends with this. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.job.wake();
  }

  get broken(): boolean {
    return this.failure !== undefined;
  }

  /**
   * The job is over: who still waits for a piece, a hand-over that came too late or a write of the
   * guest, has no further one copied.
   */
  async stop(): Promise<void> {
    this.fail(new VmError('the job is over'));
    await this.settle();
  }

  /** Nothing is under way. */
  async settle(): Promise<void> {
    await Promise.all([...this.flights].map(flight => flight.done));
    this.report();
  }

  report(): void {
    let left = this.todo.bytes;
    for (const { length } of this.flights) left += length;
    this.job.progress(this.copied, left);
  }

  private async obey(): Promise<void> {
    if (this.failure) throw this.failure.error;
    if (this.retryLater) {
      this.retryLater = false;
      await this.job.doze(RETRY_MS);
    }
    if (!this.job.interrupted) return;
    await this.settle();
    await this.job.pausePoint();
  }

  private launch(piece: Range, mustSucceed: boolean): Flight {
    this.todo.clear(piece.offset, piece.length);
    const flight: Flight = {
      ...piece,
      done: this.transfer(piece)
        .then(
          () => void (this.copied += piece.length),
          error => this.failed(piece, error, mustSucceed),
        )
        .then(() => {
          this.flights.delete(flight);
          this.report();
        }),
    };
    this.flights.add(flight);
    this.report();
    return flight;
  }

  private failed(piece: Range, error: unknown, mustSucceed: boolean): void {
    if (!(error instanceof TransferError)) throw error;
    this.todo.mark(piece.offset, piece.length);
    if (mustSucceed) return this.fail(error.reason);
    if (this.failure) return;
    const action = this.job.failed(
      error.operation,
      error.reason,
      error.operation === 'read' ? this.policies.onSourceError : this.policies.onTargetError,
    );
    if (action === 'report') this.fail(error.reason);
    if (action === 'ignore') this.retryLater = true;
  }

  private async transfer({ offset, length }: Range): Promise<void> {
    const { unit } = this.target;
    for (let at = offset; at < offset + length;) {
      const status = await attempt('read', this.source.blockStatus(at, offset + length - at));
      const step = Math.min(Math.ceil(status.length / unit) * unit, offset + length - at);
      const data =
        status.zero && step === status.length
          ? undefined
          : await attempt('read', this.source.pread(at, step));
      await attempt('write', this.target.write(at, step, data && isZero(data) ? undefined : data));
      at += step;
    }
  }

  private overlaps(range: Range): boolean {
    for (const flight of this.flights) if (overlap(flight, range)) return true;
    return false;
  }
}

const overlap = (a: Range, b: Range) =>
  a.offset < b.offset + b.length && b.offset < a.offset + a.length;

function attempt<T>(operation: 'read' | 'write', promise: Promise<T>): Promise<T> {
  return promise.catch((error: unknown) => {
    throw new TransferError(operation, unlessAssertion(error));
  });
}
