/**
 * Who this side is, durable at all its images together: read from them, written to all of them
 * before what depends on it happens. A machine without images that last knows itself as long as it
 * runs. What follows from two records is decided in record.ts.
 */
import { VmError } from '../base/errors.js';
import type { ImageRecord } from '../block/record/image-record.js';
import type { PairRecord, PairState } from '../block/record/pair-record.js';
import type { Entropy } from '../host/ports.js';
import type { DiskStanding } from '../migration/standing.js';
import {
  common,
  compare,
  firstRecord,
  type Known,
  nextBranch,
  pairedOf,
  startObstacle,
} from './record.js';

/** The image of a disk; a disk may have several. */
export interface PairImage {
  /** As both sides call the disk. */
  readonly disk: string;
  readonly record: Pick<ImageRecord, 'image' | 'value' | 'problem' | 'write'>;
}

export interface IdentityPorts {
  readonly entropy: Entropy;
  /** Of the writable disks that the guest has at this moment. */
  images(): PairImage[];
}

export class PairIdentity {
  /** Where no image keeps it. */
  private inMemory: Known;
  /** A branch that not every image could be given: another attempt gives them the same one. */
  private begun: Known;
  private entering: Promise<PairRecord> | undefined;
  /** The peer was heard to run the guest. */
  private superseded = false;

  constructor(private readonly ports: IdentityPorts) {}

  /** VmError: a record cannot be read, or the images do not belong together. */
  get record(): Known {
    const images = this.ports.images();
    const bad = images.find(({ record }) => record.problem);
    if (bad) throw bad.record.problem!;
    if (images.length === 0) return this.inMemory;
    const known = images.map(({ record }) => ({ image: record.image, record: record.value }));
    // Those that have the branch already wait for the others: this side is not on it yet. An image
    // that never had a record is on none.
    const former = known.filter(
      ({ record }) => pairedOf(record) && record?.branch !== this.begun?.branch,
    );
    return common(former.length > 0 ? former : known);
  }

  /** Disk by disk, for the peer. */
  standings(): DiskStanding[] {
    return this.ports.images().map(({ disk, record }) => {
      if (record.problem) throw record.problem;
      return { disk, record: record.value };
    });
  }

  /** The peer runs the guest: it was heard, or this side was told to stop. */
  get isSuperseded(): boolean {
    return this.superseded || this.ports.images().some(i => i.record.value?.state === 'yielded');
  }

  /** Why the guest may not run its first instruction here; undefined: it may. */
  get obstacle(): VmError | undefined {
    let why: string | undefined;
    try {
      why =
        startObstacle(this.record) ??
        (this.superseded ? 'the secondary has taken this guest over' : undefined);
    } catch (error) {
      if (error instanceof VmError) return error;
      throw error;
    }
    return why === undefined
      ? undefined
      : new VmError(`the guest does not run: ${why}`, { hint: HOW_TO_RUN });
  }

  /**
   * Before a guest without a peer runs for the first time: it leaves a branch that others share.
   */
  async beginAlone(): Promise<void> {
    const now = this.record;
    if (now && (now.state !== 'alone' || now.role !== 'primary')) await this.goAlone();
  }

  /**
   * The primary enters COLO, or asks its arbiter before: it has a branch of its own, and the first
   * time a pair. Who comes while that is written gets the same one.
   */
  enter(): Promise<PairRecord> {
    return (this.entering ??= this.enterOnce().finally(() => (this.entering = undefined)));
  }

  private async enterOnce(): Promise<PairRecord> {
    const now = this.record;
    if (!now) await this.writeAll(firstRecord(this.uuid(), this.fresh()));
    else if (now.state === 'alone') await this.writeAll(now);
    else await this.goAlone();
    return this.record!;
  }

  /** From here on no other image is on this branch. Durable at all images when it resolves. */
  async goAlone(): Promise<void> {
    this.begin();
    if (this.begun) await this.writeAll(this.begun);
    this.begun = undefined;
    this.superseded = false;
  }

  private begin(): void {
    const now = this.record;
    this.begun ??= now && nextBranch(now, this.fresh());
  }

  /** What goAlone will begin, to be known before it is written. undefined: there is no record. */
  branchToBegin(): string | undefined {
    this.begin();
    return this.begun?.branch;
  }

  /** Without a record there is nothing to say. */
  async become(state: PairState): Promise<void> {
    const now = this.record;
    if (now) await this.writeAll({ ...now, state });
  }

  /** The images are, or are about to be, copies of the peer's. */
  async follow(theirs: PairRecord, role: PairRecord['role'], state: PairState): Promise<void> {
    this.begun = undefined;
    await this.writeAll({ ...theirs, role, state });
  }

  /** This side's images are about to be overwritten by the peer's, which may have no record. */
  async beginCopy(theirs: Known): Promise<void> {
    const next = pairedOf(theirs) ?? this.record ?? firstRecord(this.uuid(), this.fresh());
    await this.writeAll({ ...next, role: 'primary', state: 'copying' });
  }

  /** Whoever decides has said that the guest is the peer's. */
  async concede(): Promise<void> {
    this.superseded = true;
    await this.become('yielded');
  }

  /** The peer said that it runs the guest, and with which record. Gives the sentence for it. */
  async heardOf(theirs: Known): Promise<VmError> {
    const ours = this.record;
    const generation = theirs ? `, generation ${theirs.generation}` : '';
    const runs = `the secondary has taken over and runs this guest${generation}`;
    const relation = compare(ours, theirs);
    if (relation === 'strangers') return new VmError(`the secondary runs another guest`);
    if (relation === 'ours-newer' || relation === 'diverged') {
      return new VmError(`${runs}; this side has gone on alone too`, { hint: BOTH_ALONE });
    }
    await this.concede();
    return new VmError(`${runs}: it does not run here`, { hint: HOW_TO_FOLLOW });
  }

  /** Marks of partial epochs are each image's own. */
  private async writeAll(next: PairRecord): Promise<void> {
    const images = this.ports.images();
    if (images.length === 0) this.inMemory = next;
    await Promise.all(images.map(({ record }) => record.write(now => changed(now, next))));
  }

  /** A name that nothing else has: 32 hexadecimal digits. */
  fresh(): string {
    const bytes = new Uint8Array(16);
    this.ports.entropy.fill(bytes);
    return Buffer.from(bytes).toString('hex');
  }

  private uuid(): string {
    return this.fresh().replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, '$1-$2-4$3-a$4-$5');
  }
}

const HOW_TO_FOLLOW =
  'To go on there, leave this side stopped, or start it as the secondary of that one. ' +
  'To go on here after the other side has ended: colo failover NAME.';

const BOTH_ALONE =
  'Only one of them may live: end the other, and say with x-sync-from whose disks are kept.';

const HOW_TO_RUN =
  'Let it join its secondary first (colo primary --config, or -S and migrate). ' +
  'Is the other host surely dead? ' +
  'colo failover NAME, or x_colo_lost_heartbeat, lets this side go on alone.';

function changed(now: Known, next: PairRecord): PairRecord {
  const partial = now?.partial ?? false;
  const same =
    pairedOf(now) &&
    JSON.stringify({ ...now, partial: false }) === JSON.stringify({ ...next, partial: false });
  return same ? now! : { ...next, partial };
}
