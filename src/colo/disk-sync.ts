/**
 * How far the disks are on the way into COLO, in bytes: the secondary reads its images, the primary
 * compares them with its own, and what differs is copied.
 */
import type { Replicated } from '../block/contract/replicated.js';

export type DiskSyncPhase = 'digest' | 'compare' | 'copy';

export interface DiskSyncInfo {
  readonly phase: DiskSyncPhase;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export class DiskSync {
  private readonly read = new Map<string, number>();
  private phase: DiskSyncPhase | undefined;
  /** The most that was to be copied: the guest writes on meanwhile. */
  private copyBytes = 0;

  /** Those for which nobody vouches, as it is now: the replica may be taken out later. */
  private readonly compared: readonly Replicated[];

  constructor(
    disks: readonly Replicated[],
    /** What the replicas have yet to be given: the primary's to know. */
    private readonly behindBytes: () => number = () => 0,
  ) {
    this.compared = disks.filter(disk => !disk.sync.assumed);
  }

  /** So much of this disk's image has been read, to compare it or for the peer to compare. */
  progress(phase: 'digest' | 'compare', disk: Replicated, doneBytes: number): void {
    this.phase = phase;
    this.read.set(disk.name, doneBytes);
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
    const totalBytes = this.compared.reduce((sum, disk) => sum + disk.length, 0);
    const doneBytes = [...this.read.values()].reduce((sum, bytes) => sum + bytes, 0);
    return totalBytes === 0 ? undefined : { phase, doneBytes, totalBytes };
  }

  private copied(): DiskSyncInfo | undefined {
    const left = this.behindBytes();
    this.copyBytes = Math.max(this.copyBytes, left);
    if (left === 0) return undefined;
    return { phase: 'copy', doneBytes: this.copyBytes - left, totalBytes: this.copyBytes };
  }
}
