/**
 * Driver `replication`, mode=primary: the quorum child that copies the guest's writes to the
 * replica. It never answers reads and never fails a guest's write: its own error is stored and ends
 * the epoch. While it does not forward, it notes which clusters were written; start() carries their
 * content over, so that nothing between attach and the first checkpoint is lost.
 */
import { asVmError, VmError } from '../../../base/errors.js';
import { mutant } from '../../../base/mutant.js';
import { event, tracer } from '../../../base/trace.js';
import { DirtyClusters } from './dirty-clusters.js';
import { CLUSTER, isZero } from '../../contract/driver.js';
import { type ForwardLimits, ForwardQueue } from './forward-queue.js';
import { ioError } from '../../contract/io-error.js';
import type { BlockNode } from '../../contract/node.js';
import type { Range } from '../../record/regions.js';
import { type Follower, type ForwardSource, inRole } from '../../contract/roles.js';

const trace = tracer('replication', {
  primary_start: event<{ clusters: number }>(),
  primary_cut: event<{ pending: number }>(),
  primary_committed: event(),
  primary_aborted: event(),
  primary_error: event<{ message: string }>(),
  primary_stop: event(),
});

/**
 * Longest single request with data to the replica: one request is one write in the epoch's count.
 */
const MAX_FORWARD = 1024 * 1024;

export interface PrimaryOptions {
  limits: ForwardLimits;
  assumeInSync: boolean;
}

export class ReplicationPrimary implements Follower {
  readonly format = 'replication';
  readonly role = 'follower';
  readonly length: number;
  readonly readOnly = false;
  /** none: noting; running: forwarding; done: ended, noting again for a later resynchronisation. */
  private state: 'none' | 'running' | 'done' = 'none';
  private readonly dirty: DirtyClusters;
  private readonly queue: ForwardQueue;
  private readonly maxForward: number;
  /**
   * Zeroes go whole: the replica asks its disk for holes, where pieces would each be saved and
   * answered.
   */
  private readonly maxForwardZeroes: number;
  forwardSource: ForwardSource | undefined;
  /** Of the disk, that start() has carried over so far. */
  carriedBytes = 0;

  constructor(
    private readonly replica: BlockNode,
    readonly options: PrimaryOptions,
  ) {
    this.length = replica.length;
    this.maxForwardZeroes = replica.driver.maxZeroes ?? replica.driver.maxTransfer ?? this.length;
    this.maxForward = Math.min(MAX_FORWARD, replica.driver.maxTransfer ?? MAX_FORWARD);
    this.dirty = new DirtyClusters(this.length);
    this.queue = new ForwardQueue(replica, options.limits, (error, lost) => {
      for (const { offset, length } of lost) this.dirty.mark(offset, length);
      trace.primary_error?.({ message: error.message });
    });
    // A write that is sent again counts twice at the replica, or not at all: rule 3 could not be
    // kept.
    const remote = inRole('remote', replica);
    if (remote?.reconnects)
      throw new VmError(
        `reconnect-delay of node '${replica.name}' must be 0: a replica whose connection was ` +
          'lost ends the epoch',
      );
    // Also an idle disk has lost its replica, and writes that are held for the next epoch would
    // wait for ever.
    if (remote) remote.onFailure = error => this.state === 'running' && this.queue.fail(error);
  }

  /**
   * What the peer calls the disk; undefined when the replica is not an NBD export, or the nameless
   * one.
   */
  get exportName(): string | undefined {
    return inRole('remote', this.replica)?.exportName || undefined;
  }

  async start(): Promise<void> {
    if (this.state === 'running') throw new VmError('block replication is running already');
    if (this.state === 'done')
      throw new VmError('this replication has ended: delete its node and add a new one');
    const source = this.forwardSource;
    if (!source) throw new VmError('the replication node is not a child of a quorum');
    const lost = inRole('remote', this.replica)?.error;
    if (lost)
      throw new VmError(lost.message, {
        hint: 'take the replication child out, delete its node, and add a new one',
      });
    this.state = 'running';
    trace.primary_start?.({ clusters: this.dirty.count });
    for (let run = this.dirty.takeRun(16); run && !this.queue.error; run = this.dirty.takeRun(16))
      await this.carryOver(source, run.offset, run.length);
    if (this.queue.error) throw this.queue.error;
  }

  cut(): { epochDone: Promise<number> } {
    if (this.state !== 'running') throw new VmError('block replication is not running');
    trace.primary_cut?.({ pending: this.queue.pendingRequests });
    return { epochDone: this.queue.cut() };
  }

  committed(): void {
    trace.primary_committed?.({});
    this.queue.committed();
  }

  aborted(): void {
    trace.primary_aborted?.({});
    this.queue.aborted();
  }

  stop(): void {
    if (this.state === 'done') return;
    trace.primary_stop?.({});
    this.state = 'done';
    this.queue.fail(new VmError('block replication was stopped'));
  }

  /** stop() was called, or the quorum has let it go. */
  get ended(): boolean {
    return this.state === 'done';
  }

  error(): Error | undefined {
    return this.state === 'done' ? undefined : this.queue.error;
  }

  /** Noted, and not yet carried over. */
  get dirtyBytes(): number {
    return this.dirty.count * this.dirty.clusterBytes;
  }

  /** Grows with every write that the replica has acknowledged. */
  get progress(): number {
    return this.queue.progress;
  }

  drainBegin(): () => void {
    return this.queue.drainBegin();
  }

  /** The guest has written there since this was attached. */
  isDirty(offset: number, length: number): boolean {
    return this.dirty.touches(offset, length);
  }

  /** These ranges differ at the replica. */
  markDirty(offset: number, length: number): void {
    this.dirty.mark(offset, length);
  }

  dirtyRuns(): Iterable<Range> {
    return this.dirty.runs();
  }

  async flushReplica(): Promise<void> {
    const flushes = inRole('remote', this.replica)?.flushes;
    if (!flushes) throw new VmError(`what node '${this.replica.name}' holds may not be durable`);
    await this.replica.flush();
  }

  /** Nothing more will come of it: it was stopped, or has lost its server before it began. */
  get spent(): boolean {
    const lost = inRole('remote', this.replica)?.error !== undefined;
    return this.ended || (this.state === 'none' && lost);
  }

  /** What the replica holds; nothing is under way to it. */
  async readReplica(offset: number, length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let at = 0; at < length; at += this.maxForward) {
      parts.push(await this.replica.pread(offset + at, Math.min(this.maxForward, length - at)));
    }
    return Buffer.concat(parts);
  }

  /**
   * The local write failed, so the content of its range is unknown: the replica gets what can be
   * read back.
   */
  async resend(offset: number, length: number, read: () => Promise<Buffer>): Promise<void> {
    if (!this.forwarding) return this.dirty.mark(offset, length);
    try {
      await this.forward(offset, length, await read());
    } catch (error) {
      this.queue.fail(asVmError(error).during('reading back after a failed write'));
      this.dirty.mark(offset, length);
    }
  }

  pread(): Promise<Buffer> {
    return Promise.reject(ioError('EIO', 'a replication node in primary mode is not read'));
  }

  /**
   * Settles when the write is copied and has a place in the queue: from then on the guest may have
   * its buffer back.
   */
  async pwrite(offset: number, data: Uint8Array): Promise<void> {
    if (!this.forwarding) return this.dirty.mark(offset, data.length);
    await this.forward(offset, data.length, mutant('write-not-copied') ? data : Buffer.from(data));
  }

  /**
   * A flush is not forwarded. Before a failover the replica's image is marked and refused as a boot
   * disk, so its durability is not needed; the merge at failover ends with a sync of everything.
   */
  async flush(): Promise<void> {
    // see above
  }

  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    if (!this.forwarding) return this.dirty.mark(offset, length);
    await this.forward(offset, length, undefined);
  }

  async close(): Promise<void> {
    this.stop();
  }

  describe() {
    return {
      mode: 'primary',
      state: this.queue.error && this.state === 'running' ? 'failed' : this.state,
      'pending-bytes': this.queue.pendingBytes,
      'pending-requests': this.queue.pendingRequests,
      'dirty-clusters': this.dirty.count,
    };
  }

  private get forwarding(): boolean {
    return this.state === 'running' && !this.queue.error;
  }

  /** The data is ours. */
  private async forward(
    offset: number,
    length: number,
    data: Uint8Array | undefined,
    atOnce = false,
  ): Promise<void> {
    const most = data ? this.maxForward : this.maxForwardZeroes;
    for (let at = 0; at < length; at += most) {
      const part = Math.min(most, length - at);
      const taken = await this.queue.push(offset + at, part, data?.subarray(at, at + part), atOnce);
      if (!taken) this.dirty.mark(offset + at, part);
    }
  }

  /**
   * Room first: a guest's write must not wait for a lock that is held while the wire takes its
   * time.
   */
  private async carryOver(source: ForwardSource, offset: number, length: number): Promise<void> {
    await this.queue.room();
    return source.withRange(offset, length, async read => {
      const data = await read().catch((error: unknown) => {
        this.dirty.mark(offset, length);
        throw asVmError(error).during('carrying earlier writes over to the replica');
      });
      this.carriedBytes += length;
      for (let at = 0; at < length; at += CLUSTER) {
        const part = data.subarray(at, Math.min(at + CLUSTER, length));
        await this.forward(offset + at, part.length, isZero(part) ? undefined : part, true);
      }
    });
  }
}
