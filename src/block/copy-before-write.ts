/**
 * Saves what a forwarded write would overwrite: whole clusters go from the secondary disk to the hidden disk, once per epoch. The copy
 * and the write exclude every other request of those clusters, so a reader of hidden-over-secondary never sees half of it. The cluster is
 * the hidden disk's own unit: small, for random 4 KiB writes would otherwise fill its bound sixteen times sooner.
 */
import { VmError } from '../base/errors.js';
import { mutant } from '../base/mutant.js';
import { tracer } from '../base/trace.js';
import { isZero } from './driver.js';
import { MEMORY_BLOCK as CLUSTER, type MemoryDriver } from './drivers/memory.js';
import { ioError } from './io-error.js';
import type { BlockNode, Interceptor } from './node.js';
import type { RangeLock } from './range-lock.js';

const trace = tracer('replication', ['copy_before_write']);

/** Clusters copied in one read. */
const COPY_RUN = 256;

export class CopyBeforeWrite implements Interceptor {
  private arrivals = 0;
  private fenced = false;
  private failure?: Error;

  constructor(
    private readonly disk: BlockNode,
    private readonly hidden: MemoryDriver,
    /** Over the guest's reads as well. */
    private readonly lock: RangeLock,
  ) {}

  /** Writes of the running epoch that are in the disk. */
  get arrived(): number {
    return this.arrivals;
  }

  get error(): Error | undefined {
    return this.failure;
  }

  around(offset: number, length: number, write: () => Promise<void>): Promise<void> {
    const start = offset - (offset % CLUSTER);
    const end = Math.min(Math.ceil((offset + length) / CLUSTER) * CLUSTER, this.disk.length);
    return this.lock.run(start, end - start, 'exclusive', async () => {
      if (this.fenced) throw ioError('EPERM', `the secondary disk '${this.disk.name}' has been taken over`);
      try {
        if (!mutant('no-copy-before-write')) await this.save(start, end);
        await write();
        this.arrivals++;
      } catch (error) {
        this.failure ??= error as Error;
        throw error;
      }
    });
  }

  /** The epoch is committed; the caller has emptied the overlays and holds the lock. */
  nextEpoch(): void {
    this.arrivals = 0;
  }

  /** A new start: forwarded writes may come. */
  open(): void {
    this.arrivals = 0;
    this.fenced = false;
    this.failure = undefined;
  }

  /** From now on only the owner writes; the caller holds the lock. */
  fence(): void {
    this.fenced = true;
  }

  private async save(start: number, end: number): Promise<void> {
    for (let at = start; at < end; ) {
      if (this.hidden.holds(at, Math.min(CLUSTER, end - at))) {
        at += CLUSTER;
        continue;
      }
      let stop = at + CLUSTER;
      while (stop < end && stop - at < COPY_RUN * CLUSTER && !this.hidden.holds(stop, Math.min(CLUSTER, end - stop))) stop += CLUSTER;
      stop = Math.min(stop, end);
      await this.copy(at, stop);
      at = stop;
    }
  }

  private async copy(start: number, end: number): Promise<void> {
    trace('copy_before_write', { offset: start, length: end - start });
    const old = await this.disk.pread(start, end - start);
    try {
      for (let at = 0; at < old.length; ) {
        const zero = isZero(old.subarray(at, at + CLUSTER));
        let stop = Math.min(at + CLUSTER, old.length);
        while (stop < old.length && isZero(old.subarray(stop, stop + CLUSTER)) === zero) stop = Math.min(stop + CLUSTER, old.length);
        if (zero) await this.hidden.writeZeroes(start + at, stop - at);
        else await this.hidden.pwrite(start + at, old.subarray(at, stop));
        at = stop;
      }
    } catch (error) {
      throw new VmError(`hidden disk of '${this.disk.name}': ${(error as Error).message}`, { cause: error });
    }
  }
}
