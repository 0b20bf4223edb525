/**
 * Saves what a forwarded write would overwrite: whole clusters go from the secondary disk to the
 * hidden disk, once per epoch. The copy and the write exclude every other request of those
 * clusters, so a reader of hidden-over-secondary never sees half of it. The cluster is the hidden
 * disk's own unit: small in memory, for random 4 KiB writes would otherwise fill its bound sixteen
 * times sooner. What is saved is in the hidden disk's file before the write, so that a killed
 * process leaves the last checkpoint whole: hidden over secondary disk.
 */
import { VmError } from '../../../base/errors.js';
import { mutant } from '../../../base/mutant.js';
import { event, tracer } from '../../../base/trace.js';
import { isZero, type Overlay } from '../../contract/driver.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode, Interceptor } from '../../contract/node.js';
import type { RangeLock } from '../../../base/range-lock.js';

const trace = tracer('replication', {
  copy_before_write: event<{ offset: number; length: number }>(),
});

/** Copied in one read. */
const COPY_BYTES = 1024 * 1024;

export class CopyBeforeWrite implements Interceptor {
  private arrivals = 0;
  /** Of all epochs. */
  progress = 0;
  /** Why no client may write through the export now. */
  private closed?: string;
  private failure?: Error;

  constructor(
    private readonly disk: BlockNode,
    private readonly hidden: Overlay,
    /** Over the guest's reads as well. */
    private readonly lock: RangeLock,
    /** Told of each write that is in the disk. */
    private readonly wrote: (bytes: number) => void,
  ) {}

  /** Writes of the running epoch that are in the disk. */
  get arrived(): number {
    return this.arrivals;
  }

  get error(): Error | undefined {
    return this.failure;
  }

  around(offset: number, length: number, write: () => Promise<void>): Promise<void> {
    const { unit } = this.hidden;
    const start = offset - (offset % unit);
    const end = Math.min(Math.ceil((offset + length) / unit) * unit, this.disk.length);
    return this.lock.run(start, end - start, 'exclusive', async () => {
      if (this.closed !== undefined)
        throw ioError('EPERM', `the secondary disk '${this.disk.name}' ${this.closed}`);
      try {
        if (!mutant('no-copy-before-write')) await this.save(start, end);
        await write();
        this.arrivals++;
        this.progress++;
        this.wrote(length);
      } catch (error) {
        this.failure ??= error as Error;
        throw error;
      }
    });
  }

  /** The epoch is committed; the caller has emptied the overlays and holds the lock. */
  nextEpoch(): void {
    this.arrivals = 0;
    this.closed = undefined;
  }

  /** A new start: forwarded writes may come. */
  open(): void {
    this.arrivals = 0;
    this.closed = undefined;
    this.failure = undefined;
  }

  /**
   * From now on only the owner writes; the caller holds the lock. why: what is said to the others.
   */
  close(why: string): void {
    this.closed = why;
  }

  /** Lets the clients of the export write again. */
  reopen(): void {
    this.closed = undefined;
  }

  private async save(start: number, end: number): Promise<void> {
    let saved = false;
    for (let at = start; at < end;) {
      const { held, length } = await this.hidden.heldFrom(at, end - at);
      if (!held) {
        await this.saveRun(at, at + length);
        saved = true;
      }
      at += length;
    }
    if (saved) await this.hidden.settle();
  }

  /**
   * What the disk knows to be zeroes is not read: a discard of a large disk full of holes costs a
   * few questions.
   */
  private async saveRun(start: number, end: number): Promise<void> {
    const { unit } = this.hidden;
    for (let at = start; at < end;) {
      const { zero, length } = this.disk.knowsStatus
        ? await this.disk.blockStatus(at, end - at)
        : { zero: false, length: end - at };
      // Whole units, for half a one would have to be completed from below: zeroes are rounded down,
      // data up.
      const whole = at + length === end ? length : length - (length % unit);
      if (zero && whole > 0) {
        trace.copy_before_write?.({ offset: at, length: whole });
        await this.hiddenVerb(() => this.hidden.writeZeroes(at, whole));
        at += whole;
        continue;
      }
      const stop = Math.min(
        end,
        at + (zero ? unit : Math.min(COPY_BYTES, Math.ceil(length / unit) * unit)),
      );
      await this.copy(at, stop);
      at = stop;
    }
  }

  private async copy(start: number, end: number): Promise<void> {
    trace.copy_before_write?.({ offset: start, length: end - start });
    const old = await this.disk.pread(start, end - start);
    await this.hiddenVerb(async () => {
      for (let at = 0; at < old.length;) {
        const zero = isZero(old.subarray(at, at + this.hidden.unit));
        let stop = Math.min(at + this.hidden.unit, old.length);
        while (stop < old.length && isZero(old.subarray(stop, stop + this.hidden.unit)) === zero)
          stop = Math.min(stop + this.hidden.unit, old.length);
        if (zero) await this.hidden.writeZeroes(start + at, stop - at);
        else await this.hidden.pwrite(start + at, old.subarray(at, stop), false);
        at = stop;
      }
    });
  }

  private async hiddenVerb(verb: () => Promise<void>): Promise<void> {
    try {
      await verb();
    } catch (error) {
      throw new VmError(`hidden disk of '${this.disk.name}': ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}
