/**
 * One checkpoint, the primary's side. The guest stands still only between stop and resume, where
 * nothing waits for the wire; sending follows while it runs. Until the epoch is offered everything
 * can be taken back; afterwards the secondary may hold it.
 */
import { VmError, asVmError } from '../base/errors.js';
import { mutant } from '../base/mutant.js';
import type { PrimaryDisk } from '../block/contract/replicated.js';
import type { Link } from '../migration/link.js';
import { PIECE_BYTES } from '../migration/messages.js';
import type { PagePacker } from '../migration/packed-pages.js';
import { type PageStaging, encodePageChunk, PAGE_BYTES } from '../migration/pages.js';
import { Turns } from '../migration/turns.js';
import { sleep } from '../migration/wait.js';
import type { OutputHold } from '../net/contract.js';
import type { ColoPorts } from './contract.js';
import { replicationProgress } from './disks.js';
import { type Moment, momentOf } from './lease.js';
import { type EpochInfo, type Message, kindOf } from './messages.js';
import { copyMs } from './options.js';
import type { Patience } from './patience.js';
import type { CheckpointRecord } from './statistics.js';
import { trace } from './trace.js';

export interface CheckpointContext {
  readonly ports: ColoPorts;
  readonly link: Link<Message>;
  readonly disks: readonly PrimaryDisk[];
  readonly outputHolds: readonly OutputHold[];
  /** Kept from checkpoint to checkpoint. */
  readonly staging: PageStaging;
  readonly packer?: PagePacker;
  /** The guest does not go on behind it: the other side is to have it. */
  readonly last: boolean;
}

/** What the primary decides about it. */
export interface CheckpointOwner {
  readonly patience: Patience;
  /** False: a failover came first. */
  offer(): boolean;
  received(epoch: number, askedAt: Moment): void;
  /** The main loop copies, and does nothing else for so long. */
  busy(ms: number): void;
}

/** What stands still: copied, saved and cut while the guest was stopped. */
interface Cut {
  blob: Buffer;
  ramHash: bigint;
  writes: Promise<number[]>;
  guestOver: boolean;
}

/** The message is in the kernel long before; if not, the wire is full, and the guest goes first. */
const ANNOUNCE_MS = 20;

export class Checkpoint {
  /** The secondary may hold this epoch: it cannot be given up any more. */
  offered = false;
  private readonly staging: PageStaging;
  private taken: Uint32Array = new Uint32Array(0);
  private readonly cutDisks: PrimaryDisk[] = [];
  private readonly record: CheckpointRecord;
  private readonly turns: Turns;

  constructor(
    private readonly epoch: number,
    private readonly context: CheckpointContext,
    private readonly owner: CheckpointOwner,
  ) {
    this.staging = context.staging;
    this.turns = new Turns(context.ports.clock, context.ports.options.turnBytes);
    this.record = {
      epoch,
      pauseMs: 0,
      receivedMs: 0,
      totalMs: 0,
      pages: 0,
      cacheHits: 0,
      ramBytes: 0,
      blobBytes: 0,
    };
  }

  async run(): Promise<CheckpointRecord> {
    const { link, ports, disks } = this.context;
    const { options, clock } = ports;
    const startedMs = clock.nowMs();
    await link.send({ type: 'checkpoint-request' });
    await link.expect('checkpoint-reply', options.replyTimeoutMs);
    await this.staging.prepare(ports.lifecycle.ram.dirtyLog.count(), this.turns);
    const cut = await this.stopAndCut();
    if (mutant('packets-released-early')) this.owner.received(this.epoch, momentOf(clock));
    await link.send({ type: 'vmstate-send' });
    await this.sendPages();
    const writes = await link.guard(
      cut.writes,
      'the replica of a disk',
      options.diskTimeoutMs,
      () => replicationProgress(disks),
    );
    const askedAt = await this.offer(cut, {
      epoch: this.epoch,
      pages: this.taken.length,
      writes: disks.map((d, i) => ({ disk: d.name, count: writes[i] })),
      ramHashed: options.verifyRam,
      ramHash: cut.ramHash,
      guestOver: cut.guestOver,
    });
    await link.expect('vmstate-received', options.replyTimeoutMs);
    this.record.receivedMs = clock.nowMs() - startedMs;
    this.owner.received(this.epoch, askedAt);
    // Waits for as long as the secondary answers: it may lack disk space, and continues when there
    // is some.
    await this.owner.patience.until(
      'the secondary to load the checkpoint',
      link.expect('vmstate-loaded'),
    );
    this.context.packer?.sent.settle();
    for (const disk of disks) disk.committed();
    ports.step('primary-committed');
    this.record.totalMs = clock.nowMs() - startedMs;
    trace.checkpoint_done?.({ ...this.record });
    return this.record;
  }

  private async stopAndCut(): Promise<Cut> {
    const { ports, link } = this.context;
    const { lifecycle, clock } = ports;
    const stoppedMs = clock.nowMs();
    try {
      await lifecycle.stopForCheckpoint();
      ports.step('primary-stopped');
      if (link.failed) throw link.failed;
      if (lifecycle.failure !== undefined) throw new VmError(lifecycle.failure);
      this.taken = lifecycle.ram.dirtyLog.take();
      await this.announceCopy();
      return this.cut();
    } finally {
      if (!this.context.last) lifecycle.resumeAfterCheckpoint();
      this.record.pauseMs = clock.nowMs() - stoppedMs;
      ports.step('primary-resumed');
    }
  }

  /**
   * This side says nothing while it copies. A secondary that would take that for its end hears of
   * it first; the guest waits for the main loop, not for the wire.
   */
  private async announceCopy(): Promise<void> {
    const { ports, link } = this.context;
    const { clock, options } = ports;
    const pages = this.taken.length;
    const ms = copyMs(pages, options);
    if (ms <= options.loopLimitMs / 4) return;
    this.owner.busy(ms);
    await Promise.race([link.send({ type: 'copying', pages }), sleep(clock, ANNOUNCE_MS)]);
    if (link.failed) throw link.failed;
  }

  /** No await in here: the guest waits. */
  private cut(): Cut {
    const { ports, disks, outputHolds } = this.context;
    const { lifecycle, options, step } = ports;
    this.staging.fill(lifecycle.ram, this.taken);
    this.record.pages = this.taken.length;
    step('primary-staged');
    const blob = lifecycle.saveDevices();
    if (blob.length > options.blobBytesMax)
      throw new VmError(
        `device state has ${blob.length} bytes, at most ${options.blobBytesMax} allowed`,
      );
    this.record.blobBytes = blob.length;
    const ramHash = options.verifyRam ? lifecycle.ram.hash() : 0n;
    for (const hold of outputHolds) hold.cut(this.epoch);
    const done = disks.map(disk => {
      this.cutDisks.push(disk);
      const { epochDone } = disk.cut();
      const count = epochDone.catch(thrown =>
        Promise.reject(asVmError(thrown).during(`disk '${disk.name}'`)),
      );
      // Given up when the next disk cannot be cut, and then awaited by nothing.
      count.catch(() => undefined);
      return count;
    });
    const writes = Promise.all(done);
    writes.catch(() => undefined);
    step('primary-cut');
    return { blob, ramHash, writes, guestOver: lifecycle.shutdownRequested };
  }

  private async sendPages(): Promise<void> {
    const { link, ports, packer } = this.context;
    const total = this.taken.length;
    const { chunkPages } = ports.options;
    packer?.sent.begin(ports.parameters.xbzrleCacheBytes);
    const type = packer ? 'packed-pages' : 'pages';
    for (let from = 0, to: number; from < total; from = to) {
      to = Math.min(total, from + chunkPages, this.staging.bufferEnd(from));
      const frame = packer
        ? packer.frame(this.staging, from, to)
        : encodePageChunk(kindOf('pages'), this.staging, from, to);
      this.record.ramBytes += frame.length;
      await link.sendFrame({ type, body: frame }, frame);
      if (from <= total / 2 && to > total / 2) ports.step('primary-half-pages');
      await this.turns.spend((to - from) * PAGE_BYTES);
    }
    this.record.cacheHits = packer?.sent.hits ?? 0;
    ports.migration.received(this.record.ramBytes);
  }

  /** The point of no return. The lease counts from before it. */
  private async offer(cut: Cut, info: EpochInfo): Promise<Moment> {
    const { link, ports } = this.context;
    if (link.failed) throw link.failed;
    if (!this.owner.offer()) throw new VmError('a failover came first');
    this.offered = true;
    await link.send({ type: 'epoch', ...info });
    const askedAt = momentOf(ports.clock);
    await link.send({ type: 'vmstate-size', size: cut.blob.length });
    for (let at = 0; at < cut.blob.length; at += PIECE_BYTES) {
      await link.send({ type: 'blob', bytes: cut.blob.subarray(at, at + PIECE_BYTES) });
      if (at <= cut.blob.length / 2 && at + PIECE_BYTES > cut.blob.length / 2)
        ports.step('primary-half-blob');
    }
    ports.step('primary-offered');
    return askedAt;
  }

  /** Rule 4: what this epoch took belongs to the next. */
  async abort(): Promise<void> {
    const { link, ports } = this.context;
    if (!mutant('aborted-pages-forgotten')) ports.lifecycle.ram.dirtyLog.restore(this.taken);
    for (const disk of this.cutDisks) disk.aborted();
    ports.step('primary-aborted');
    await link.send({ type: 'abort-epoch' });
  }
}
