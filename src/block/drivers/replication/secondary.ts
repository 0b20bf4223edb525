/**
 * Driver `replication`, mode=secondary: the secondary guest's view of the disk, active over hidden
 * over secondary disk, which is the last checkpoint plus its own writes. Meanwhile the primary's
 * writes reach the secondary disk through its export and are copied before write.
 */
import { asVmError, VmError } from '../../../base/errors.js';
import { mutant } from '../../../base/mutant.js';
import { event, tracer } from '../../../base/trace.js';
import { BackgroundSync } from './background-sync.js';
import { CopyBeforeWrite } from './copy-before-write.js';
import type { Overlay } from '../../contract/driver.js';
import { ioError, unlessAssertion } from '../../contract/io-error.js';
import { type BlockNode, type NodeWriter, protocolOf } from '../../contract/node.js';
import { RangeLock } from '../../../base/range-lock.js';
import {
  type ImageFile,
  inRole,
  type SecondaryState,
  type SecondaryView,
} from '../../contract/roles.js';

const trace = tracer('replication', {
  secondary_start: event<{ disk: string }>(),
  secondary_checkpoint: event<{ writes: number; hidden: number; active: number }>(),
  secondary_stop: event<{ reason: string }>(),
  secondary_merged: event<{ disk: string }>(),
  secondary_error: event<{ message: string }>(),
});

export interface SecondaryChain {
  name: string;
  active: Overlay;
  hidden: Overlay;
  /** active over hidden over secondary, as a node. */
  view: BlockNode;
  disk: BlockNode;
  assumeInSync: boolean;
  /**
   * The drive that the guest has above it, as the user says: it may be made later than this node.
   */
  topId?: string;
}

/** Longest single write of the merge. */
const MERGE_BYTES = 1024 * 1024;
const MERGE_LANES = 8;

export class ReplicationSecondary implements SecondaryView {
  readonly format = 'replication';
  readonly role = 'secondary';
  readonly length: number;
  readonly readOnly = false;
  /**
   * Readers of the view share; a forwarded write is alone in its clusters; checkpoint and merge
   * have the whole disk.
   */
  private readonly lock = new RangeLock();
  private readonly forwarded: CopyBeforeWrite;
  private readonly sync: BackgroundSync;
  private stage: SecondaryState = 'none';
  private failure?: Error;
  private release: (() => void)[] = [];
  /** Writes the secondary disk past copy-before-write and its fence. */
  private owner?: NodeWriter;
  private stopping?: Promise<void>;
  private everStarted = false;
  /** The secondary disk itself is the last checkpoint: what the overlays still hold is void. */
  private settled = false;
  private emptying?: Promise<void>;
  /** Called when the secondary disk gets its new owner, so that its exports drop their clients. */
  onTakeover: (disk: BlockNode) => Promise<void> = () => Promise.resolve();
  /**
   * Called when the disk begins to follow one primary, and when it stops: in between, its exports
   * let one client write.
   */
  onFollow: (disk: BlockNode, follows: boolean) => void = () => undefined;

  constructor(readonly chain: SecondaryChain) {
    const { active, hidden, disk, name } = chain;
    if (active.length !== disk.length || hidden.length !== disk.length) {
      throw new VmError(
        `replication '${name}': active disk, hidden disk and secondary disk differ in length: ` +
          `${active.length}, ${hidden.length} and ${disk.length} bytes`,
      );
    }
    this.length = disk.length;
    this.sync = new BackgroundSync(
      () => disk.flush(),
      error => (this.failure ??= error.during(`syncing the secondary disk '${disk.name}'`)),
    );
    this.forwarded = new CopyBeforeWrite(disk, hidden, this.lock, bytes => this.sync.wrote(bytes));
  }

  get state(): SecondaryState {
    return this.stage;
  }

  get disk(): BlockNode {
    return this.chain.disk;
  }

  /** The images are compared: nothing may change in this one until start(), or unclaim(). */
  claim(): void {
    if (this.stage !== 'none') return;
    this.watch();
    this.file?.bitmap.follow(false);
    this.forwarded.close('waits for its primary: nobody writes to it meanwhile');
  }

  /** Not started after all. */
  unclaim(): void {
    if (this.stage === 'none' && !this.everStarted) this.forwarded.reopen();
  }

  async start(): Promise<void> {
    if (this.stage !== 'none')
      throw new VmError(
        this.stage === 'running'
          ? 'block replication is running already'
          : 'this replication has ended',
      );
    const { disk, assumeInSync } = this.chain;
    const { file } = this;
    if (file?.record.partial && assumeInSync) {
      throw file.record.obstacle!.during('x-assume-in-sync cannot be right');
    }
    this.watch();
    // A write that comes now waits until the mark is durable.
    await this.lock.runAll('exclusive', async () => {
      await file?.record.markPartial();
      await this.empty();
      this.settled = false;
      this.failure = undefined;
      this.forwarded.open();
      file?.bitmap.follow(true);
      this.everStarted = true;
      this.stage = 'running';
    });
    this.onFollow(disk, true);
    trace.secondary_start?.({ disk: disk.name });
  }

  arrived(): number {
    return this.forwarded.arrived;
  }

  /**
   * Takes the primary's count of the epoch's writes, and throws a VmError when another number
   * arrived. The primary sends none until the checkpoint, so every write before that is refused: it
   * would become part of the epoch without being counted.
   */
  seal(count: number): Promise<void> {
    return this.lock.runAll('exclusive', async () => {
      const { arrived } = this.forwarded;
      if (arrived !== count) throw new VmError(`${count} writes were sent, ${arrived} arrived`);
      this.forwarded.close('is at a checkpoint: nobody writes to it meanwhile');
    });
  }

  /** Grows with every write that arrives. */
  get progress(): number {
    return this.forwarded.progress;
  }

  /**
   * Decided by the call. Emptying the overlays may fail or hang; stop() needs it no more, and the
   * next call tries it again.
   */
  async checkpoint(): Promise<void> {
    if (this.stage !== 'running') throw new VmError('block replication is not running');
    this.settled = true;
    this.emptying ??= this.nextEpoch().finally(() => (this.emptying = undefined));
    return this.emptying;
  }

  /** A merge that failed may be tried again: the overlays are kept until it is durable. */
  stop(failover: boolean): Promise<void> {
    if (this.stage === 'none' || this.stage === 'done') return Promise.resolve();
    this.stopping ??= this.takeOver(failover).finally(() => (this.stopping = undefined));
    return this.stopping;
  }

  error(): Error | undefined {
    return this.stage === 'done' || this.stage === 'none'
      ? undefined
      : (this.failure ?? this.forwarded.error);
  }

  async pread(offset: number, length: number): Promise<Buffer> {
    this.refuseUnless();
    if (this.stage === 'done') return this.chain.disk.pread(offset, length);
    // The lock keeps copy-before-write away.
    return this.lock.run(offset, length, 'shared', () => this.chain.view.pread(offset, length));
  }

  pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    return this.change(offset, data.length, node => node.pwrite(offset, data, fua));
  }

  /** Before failover durability is the primary's business. */
  async flush(): Promise<void> {
    if (this.stage === 'done') await this.chain.disk.flush();
  }

  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.change(offset, length, node => node.writeZeroes(offset, length));
  }

  /** Leaves the image whole, at the last checkpoint, if it can. */
  async close(): Promise<void> {
    try {
      await this.stop(false);
      await this.emptying?.catch(() => undefined);
      await this.sync.settled();
    } finally {
      for (const undo of this.release.splice(0).reverse()) undo();
    }
  }

  describe() {
    return {
      mode: 'secondary',
      state: this.stage,
      'secondary-disk': this.chain.disk.name,
      'active-bytes': this.chain.active.bytes,
      'hidden-bytes': this.chain.hidden.bytes,
    };
  }

  private get file(): ImageFile | undefined {
    return inRole('file', protocolOf(this.chain.disk));
  }

  /** From the first start on, no other writer changes the secondary disk unnoticed. */
  private watch(): void {
    if (this.owner) return;
    const { disk, name } = this.chain;
    const detach = disk.attach({ label: `replication '${name}'`, write: true, group: '*' });
    try {
      const { past, release } = disk.intercept(this.forwarded);
      this.owner = past;
      this.release = [detach, release];
    } catch (error) {
      detach();
      throw error;
    }
  }

  /** Hidden first: from then on the secondary disk itself is the last checkpoint. */
  private async empty(): Promise<void> {
    await this.chain.hidden.clear();
    await this.chain.active.clear();
  }

  private refuseUnless(): void {
    if (this.stage === 'none')
      throw ioError('EIO', `replication '${this.chain.name}' has not started`);
  }

  private async nextEpoch(): Promise<void> {
    await this.lock.runAll('exclusive', async () => {
      const { hidden, active } = this.chain;
      trace.secondary_checkpoint?.({
        writes: this.forwarded.arrived,
        hidden: hidden.bytes,
        active: active.bytes,
      });
      if (!mutant('overlays-not-emptied')) await this.empty();
      if (this.stage !== 'running') return;
      this.forwarded.nextEpoch();
      this.settled = false;
    });
  }

  /** The order of rule 8: other writers are stopped, exports are dropped, then the merge runs. */
  private async takeOver(failover: boolean): Promise<void> {
    trace.secondary_stop?.({ reason: failover ? 'failover' : 'shutdown' });
    this.stage = 'failover';
    try {
      await this.fence();
      if (failover) await this.onTakeover(this.chain.disk);
      if (!this.settled) await this.mergeAll(failover);
      await this.chain.disk.flush();
      this.file?.bitmap.follow(false);
      await this.file?.record.unmarkPartial();
    } catch (error) {
      const during = `merging into the secondary disk '${this.chain.disk.name}'`;
      const failure = asVmError(error).during(during);
      this.failure = failure;
      this.stage = 'failover-failed';
      trace.secondary_error?.({ message: failure.message });
      unlessAssertion(error);
      throw failure;
    }
    // The image is whole and says so: from here on nothing can fail.
    this.stage = failover ? 'done' : 'none';
    trace.secondary_merged?.({ disk: this.chain.disk.name });
    this.emptyLater();
  }

  /**
   * While the overlays of a settled epoch are emptied no forwarded write is under way: that has the
   * whole lock.
   */
  private async fence(): Promise<void> {
    const close = () => this.forwarded.close('has been taken over');
    if (this.settled && this.emptying) close();
    else await this.lock.runAll('exclusive', async () => close());
    this.onFollow(this.chain.disk, false);
  }

  private async mergeAll(failover: boolean): Promise<void> {
    const warn = (error: unknown) => {
      trace.secondary_error?.({ message: asVmError(unlessAssertion(error)).message });
    };
    // A process killed during the merge leaves the guest's view in the files; where that cannot
    // be had, the merge itself is what counts.
    if (failover) await this.chain.active.settle().catch(warn);
    await this.lock.runAll('exclusive', async () => {
      await this.merge(this.chain.hidden);
      // What follows is this side's own, and marked here.
      this.file?.bitmap.follow(false);
      if (failover) await this.merge(this.chain.active);
    });
  }

  /**
   * The overlays are not read any more, and a new start empties them again, so a failure is only
   * reported.
   */
  private emptyLater(): void {
    this.settled = true;
    this.emptying ??= this.lock
      .runAll('exclusive', () => this.empty())
      .catch((error: unknown) => trace.secondary_error?.({ message: asVmError(error).message }))
      .finally(() => (this.emptying = undefined));
  }

  /**
   * To the active disk while running; a merge is waited for; then to the secondary disk, as durable
   * as asked.
   */
  private async change(
    offset: number,
    length: number,
    write: (node: NodeWriter) => Promise<void>,
  ): Promise<void> {
    this.refuseUnless();
    // The active disk may complete its cluster from below, so no write may change that content
    // during the copy.
    const { unit } = this.chain.active;
    const start = offset - (offset % unit);
    const end = Math.ceil((offset + length) / unit) * unit;
    for (;;) {
      await this.stopping?.catch(() => undefined);
      if (this.stage === 'done') return write(this.owner!);
      if (this.stage === 'failover-failed') throw ioError('EIO', this.failure!.message);
      const done = await this.lock.run(start, end - start, 'shared', async () => {
        if (this.stage !== 'running') return false;
        await this.writeActive(write);
        return true;
      });
      if (done) return;
      this.refuseUnless();
    }
  }

  private async writeActive(write: (node: NodeWriter) => Promise<void>): Promise<void> {
    try {
      await write(this.chain.view);
    } catch (error) {
      this.failure ??= asVmError(error).during(`active disk of '${this.chain.name}'`);
      throw this.failure;
    }
  }

  /** The guest waits for it: several writes at once. What an overlay holds does not overlap. */
  private async merge(overlay: Overlay): Promise<void> {
    const extents = overlay.extents(MERGE_BYTES);
    const lane = async () => {
      for await (const { offset, length, data } of extents) {
        if (data) await this.owner!.pwrite(offset, data);
        else await this.owner!.writeZeroes(offset, length);
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: MERGE_LANES }, lane));
    for (const { reason } of lanes.filter(l => l.status === 'rejected'))
      throw asVmError(unlessAssertion(reason));
  }
}
