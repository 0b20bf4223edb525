/**
 * How far the disks are on the way into COLO, in bytes: the secondary reads its images, the primary
 * compares them with its own, and what differs is copied.
 */
import type { PrimaryDisk, Replicated } from '../block/contract/replicated.js';

export type DiskSyncPhase = 'digest' | 'compare' | 'copy';

export interface DiskSyncInfo {
  readonly phase: DiskSyncPhase;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** How a disk was brought into step; bytes of the disk. */
export interface DiskOutcome {
  readonly disk: string;
  /** bitmaps: only what one side had marked. checksums: all of it. vouched: nothing was read. */
  readonly way: 'bitmaps' | 'checksums' | 'vouched';
  /** Why not by bitmaps. */
  readonly why?: string;
  /** Read on each side. */
  readonly lookedBytes: number;
  readonly differentBytes: number;
  /** So far, with what the guest wrote meanwhile. */
  readonly copiedBytes: number;
}

export class DiskSync {
  private readonly read = new Map<string, { done: number; total: number }>();
  private readonly looked: (Omit<DiskOutcome, 'copiedBytes'> & {
    readonly of: Pick<PrimaryDisk, 'copiedBytes'>;
  })[] = [];
  private phase: DiskSyncPhase | undefined;
  /** The largest amount that was to be copied; the guest writes during the copy. */
  private copyBytes = 0;

  /**
   * The disks that no record or user declares equal, as they are now: a replica may be taken out
   * later.
   */
  private readonly compared: readonly Replicated[];

  constructor(
    disks: readonly Replicated[],
    /** What the replicas have yet to be given: the primary's to know. */
    private readonly behindBytes: () => number = () => 0,
  ) {
    this.compared = disks.filter(disk => !disk.sync.assumed);
  }

  /** So much of this disk's image has been read, to compare it or for the peer to compare. */
  progress(
    phase: 'digest' | 'compare',
    disk: Replicated,
    doneBytes: number,
    totalBytes = disk.length,
  ): void {
    this.phase = phase;
    this.read.set(disk.name, { done: doneBytes, total: totalBytes });
  }

  /** Of the primary. */
  note(of: PrimaryDisk, outcome: Omit<DiskOutcome, 'disk' | 'copiedBytes'>): void {
    this.looked.push({ disk: of.name, ...outcome, of });
  }

  get outcomes(): DiskOutcome[] {
    return this.looked.map(({ of, ...outcome }) => ({ ...outcome, copiedBytes: of.copiedBytes }));
  }

  begin(phase: 'digest' | 'copy'): void {
    this.phase = phase;
  }

  /** For now, or for good. */
  done(): void {
    this.phase = undefined;
  }

  /** undefined: there is nothing to be done, or it is done. */
  get info(): DiskSyncInfo | undefined {
    const { phase } = this;
    if (phase === undefined) return undefined;
    return phase === 'copy' ? this.copied() : this.seen(phase);
  }

  private seen(phase: 'digest' | 'compare'): DiskSyncInfo | undefined {
    const totalOf = ({ name, length }: Replicated) => this.read.get(name)?.total ?? length;
    const totalBytes = this.compared.reduce((sum, disk) => sum + totalOf(disk), 0);
    const doneBytes = [...this.read.values()].reduce((sum, { done }) => sum + done, 0);
    return totalBytes === 0 ? undefined : { phase, doneBytes, totalBytes };
  }

  private copied(): DiskSyncInfo | undefined {
    const left = this.behindBytes();
    this.copyBytes = Math.max(this.copyBytes, left);
    if (left === 0) return undefined;
    return { phase: 'copy', doneBytes: this.copyBytes - left, totalBytes: this.copyBytes };
  }
}
