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
  SyncDifference,
} from '../contract/replicated.js';
import type { Follower, Quorum, SecondaryView } from '../contract/roles.js';
import type { BlockNode } from '../contract/node.js';
import { isZero } from '../contract/driver.js';
import { differences, digest, isBlank } from './sync-check.js';

/** What a disk asks of the layer. */
export interface DiskGround {
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

  constructor(
    private readonly id: string,
    private readonly node: BlockNode,
    private readonly quorum: Quorum,
    private readonly ground: DiskGround,
  ) {
    const theFollower = () => this.follower();
    this.sync = {
      get assumed() {
        return theFollower().options.assumeInSync;
      },
      compare: async (peerDigest, progress) => {
        const different = differences(await digest(node, progress), peerDigest);
        return this.difference(different, isBlank(peerDigest));
      },
    };
  }

  private difference(
    ranges: { offset: number; length: number }[],
    peerIsBlank: boolean,
  ): SyncDifference {
    const follower = this.follower();
    const bytesOf = (of: typeof ranges) => of.reduce((sum, range) => sum + range.length, 0);
    return {
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
    this.ground.refuseJobs();
    this.claimed = this.follower();
  }

  async start(): Promise<void> {
    this.ground.refuseJobs();
    const changed = this.changed();
    if (changed) throw changed;
    const follower = this.follower();
    // The images were compared for the one that was there: what differs is noted in it.
    if (this.claimed && this.claimed !== follower) throw this.takenOut();
    this.started = follower;
    await follower.start();
  }

  cut(): { epochDone: Promise<number> } {
    return this.running().cut();
  }

  committed(): void {
    this.running().committed();
  }

  aborted(): void {
    this.running().aborted();
  }

  get progress(): number {
    return this.started?.progress ?? 0;
  }

  get behindBytes(): number {
    return this.quorum.followers[0]?.dirtyBytes ?? 0;
  }

  async stop(): Promise<void> {
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
    if (this.ground.root() === this.node) return undefined;
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

  private fixedName?: string;
  private claimed = false;

  constructor(
    private readonly id: string,
    private readonly driver: SecondaryView,
    /** The export of the secondary disk, or its drive: the primary knows it by that name. */
    private readonly pairName: () => string | undefined,
    private readonly ground: Pick<DiskGround, 'refuseJobs'>,
  ) {
    this.sync = {
      assumed: driver.chain.assumeInSync,
      digest: progress => digest(driver.disk, progress),
    };
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
    this.ground.refuseJobs();
    this.driver.claim();
    this.claimed = true;
  }

  async start(): Promise<void> {
    this.ground.refuseJobs();
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
