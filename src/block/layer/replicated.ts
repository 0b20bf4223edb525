/**
 * The disks that a checkpoint covers, as colo sees them: a quorum with a replication child, or a
 * replication node in secondary mode.
 */
import { VmError } from '../../base/errors.js';
import type {
  ImageComparison,
  ImageDigest,
  PrimaryDisk,
  SecondaryDisk,
  PrimaryIntents,
  SecondaryIntents,
  SyncDifference,
} from '../contract/replicated.js';
import type { Follower, Quorum, SecondaryView } from '../contract/roles.js';
import type { BlockNode } from '../contract/node.js';
import { isZero } from '../contract/driver.js';
import { type Range, Regions } from '../record/regions.js';
import { DiskIntents, imagesOf } from './disk-intents.js';
import { answerBytesMax } from './marked-pieces.js';
import { differences, digest, isBlank } from './sync-check.js';

/** What a disk asks of the layer. */
export interface ReplicatedDiskPorts {
  /** The node that the drive stands on now. */
  root(): BlockNode | undefined;
  /** VmError: a block job runs. */
  refuseJobs(): void;
}

/** The primary's disk. Its follower stays the same from claim() on. */
export class QuorumDisk implements PrimaryDisk {
  readonly side = 'primary';
  readonly sync: ImageComparison;
  private claimed?: Follower;
  private started?: Follower;
  readonly intents: PrimaryIntents;
  private readonly bitmaps: DiskIntents;
  private copied = 0;

  constructor(
    private readonly id: string,
    private readonly node: BlockNode,
    private readonly quorum: Quorum,
    private readonly ports: ReplicatedDiskPorts,
  ) {
    const theFollower = () => this.follower();
    this.sync = {
      get assumed() {
        return theFollower().options.assumeInSync;
      },
      compare: async (peerDigest, progress) => {
        const different = differences(await digest(node, progress), peerDigest);
        const marks = new Regions(node.length);
        for (const { offset, length } of different) marks.mark(offset, length);
        return this.difference(different, marks, node.length, isBlank(peerDigest));
      },
    };
    this.bitmaps = new DiskIntents(
      () => quorum.voters.flatMap(imagesOf),
      () => node,
    );
    this.intents = this.intentsOf(this.bitmaps);
  }

  private intentsOf(bitmaps: DiskIntents): PrimaryIntents {
    const { node } = this;
    return {
      standing: () => bitmaps.standing(),
      marked: () => bitmaps.marked(),
      compare: async (sent, answer, progress) => {
        const { union, different } = await bitmaps.compare(sent, answer, progress);
        return this.difference(different, union, union.bytes, false);
      },
      get answerBytesMax() {
        return answerBytesMax(node.length);
      },
      bind: (point, marks) => bitmaps.bind(point, marks, this.follower()),
      confirm: () => bitmaps.confirm(),
    };
  }

  private difference(
    ranges: Range[],
    marks: Regions,
    lookedBytes: number,
    peerIsBlank: boolean,
  ): SyncDifference {
    const follower = this.follower();
    const bytesOf = (of: typeof ranges) => of.reduce((sum, range) => sum + range.length, 0);
    return {
      lookedBytes,
      marks,
      bytes: bytesOf(ranges),
      olderBytes: bytesOf(ranges.filter(({ offset, length }) => !follower.isDirty(offset, length))),
      peerIsBlank,
      copy: () => ranges.forEach(({ offset, length }) => follower.markDirty(offset, length)),
      copyBack: async () => {
        for (const { offset, length } of ranges) {
          const data = await follower.readReplica(offset, length);
          if (isZero(data)) await this.node.writeZeroes(offset, length);
          else await this.node.pwrite(offset, data);
        }
        await this.node.flush();
      },
    };
  }

  /** That of the export which the follower writes to. */
  get name(): string {
    const follower = this.started ?? this.quorum.followers[0];
    return follower?.exportName ?? this.id;
  }

  get length(): number {
    return this.node.length;
  }

  /**
   * COLO has it: nothing may change below the guest any more, from before the images are compared
   * until stop().
   */
  get inUse(): boolean {
    return this.claimed !== undefined || this.started !== undefined;
  }

  claim(): void {
    this.ports.refuseJobs();
    this.copied = 0;
    this.claimed = this.follower();
  }

  async start(): Promise<void> {
    this.ports.refuseJobs();
    const changed = this.changed();
    if (changed) throw changed;
    const follower = this.follower();
    // The comparison was with the replica of that time, which has noted what differs.
    if (this.claimed && this.claimed !== follower) throw this.takenOut();
    this.started = follower;
    await follower.start();
  }

  cut(): { epochDone: Promise<number> } {
    this.bitmaps.cut();
    return this.running().cut();
  }

  committed(): void {
    const follower = this.running();
    follower.committed();
    this.bitmaps.committed(follower);
  }

  aborted(): void {
    this.bitmaps.aborted();
    this.running().aborted();
  }

  get progress(): number {
    return this.started?.progress ?? 0;
  }

  get behindBytes(): number {
    return this.quorum.followers[0]?.dirtyBytes ?? 0;
  }

  get copiedBytes(): number {
    return this.started?.carriedBytes ?? this.copied;
  }

  async stop(): Promise<void> {
    this.bitmaps.alone();
    this.copied = this.copiedBytes;
    this.started?.stop();
    this.started = undefined;
    this.claimed = undefined;
  }

  error(): Error | undefined {
    if (!this.started) return undefined;
    return this.changed() ?? (this.started.ended ? this.takenOut() : this.started.error());
  }

  /** What the guest writes must go through this quorum. */
  private changed(): VmError | undefined {
    if (this.ports.root() === this.node) return undefined;
    return new VmError(
      `drive '${this.id}' does not stand on its quorum '${this.node.name}' any more`,
    );
  }

  private takenOut(): VmError {
    return new VmError(`the replication child of drive '${this.id}' has been taken out`);
  }

  private running(): Follower {
    if (!this.started) throw new VmError(`block replication of drive '${this.id}' is not running`);
    return this.started;
  }

  private follower(): Follower {
    if (this.quorum.options.readPattern !== 'fifo')
      throw new VmError(`drive '${this.id}': block replication needs read-pattern=fifo`);
    const { followers } = this.quorum;
    if (followers.length === 0)
      throw new VmError(`drive '${this.id}': no child supports block replication`);
    if (followers.length > 1)
      throw new VmError(`drive '${this.id}': too many children support block replication`);
    return followers[0];
  }
}

/** The secondary's disk. */
export class OverlaidDisk implements SecondaryDisk {
  readonly side = 'secondary';
  readonly sync: ImageDigest;
  readonly intents: SecondaryIntents;

  private fixedName?: string;
  private claimed = false;

  constructor(
    private readonly id: string,
    private readonly driver: SecondaryView,
    /** The export of the secondary disk, or its drive: the primary knows it by that name. */
    private readonly pairName: () => string | undefined,
    private readonly ports: Pick<ReplicatedDiskPorts, 'refuseJobs'>,
  ) {
    this.sync = {
      assumed: driver.chain.assumeInSync,
      digest: progress => digest(driver.disk, progress),
    };
    this.intents = new DiskIntents(
      () => imagesOf(driver.disk),
      () => driver.disk,
    );
  }

  get name(): string {
    return this.fixedName ?? this.pairName() ?? this.id;
  }

  get length(): number {
    return this.driver.length;
  }

  get inUse(): boolean {
    return this.claimed || this.driver.state === 'running' || this.driver.state === 'failover';
  }

  claim(): void {
    this.ports.refuseJobs();
    this.driver.claim();
    this.claimed = true;
  }

  async start(): Promise<void> {
    this.ports.refuseJobs();
    this.fixedName = this.name;
    await this.driver.start();
  }

  arrived(): number {
    return this.driver.arrived();
  }

  get progress(): number {
    return this.driver.progress;
  }

  seal(count: number): Promise<void> {
    return this.driver.seal(count);
  }

  checkpoint(): Promise<void> {
    return this.driver.checkpoint();
  }

  stop(failover: boolean): Promise<void> {
    if (this.claimed) this.driver.unclaim();
    this.claimed = false;
    return this.driver.stop(failover);
  }

  error(): Error | undefined {
    return this.driver.error();
  }
}
