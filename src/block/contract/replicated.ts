/** The disks that a checkpoint covers, as colo sees them. */

/**
 * A disk that a checkpoint covers (QEMU's replication.h). Every verb is awaited by the epoch;
 * errors are VmError.
 */
export interface Replicated {
  /**
   * The same on both sides: the name of the NBD export that joins them. The ids of the drives may
   * differ, as in the seed, where the secondary's guest has `active-disk0` over the exported
   * `colo-disk0`.
   */
  readonly name: string;
  /** Bytes; compared in the manifest. */
  readonly length: number;
  /** Knowing that both images are equal before the first checkpoint (rule 10). */
  readonly sync: SyncCheck;
  /**
   * Before anything of the disk is read for the peer. From here until stop() nothing may change
   * below the guest: no job, no other child, no other length; who asks for it gets a sentence.
   * VmError: there is no replica, or a block job runs.
   */
  claim(): void;
  /**
   * Secondary first, then primary. Primary: resolves when everything written since the replica was
   * attached, and everything that copy() has noted, has been taken over into the first epoch. The
   * guest may run meanwhile.
   */
  start(mode: 'primary' | 'secondary'): Promise<void>;
  /**
   * Primary: closes the epoch. Writes completed to the guest before this call belong to it; later
   * ones are held back from the replica until committed(). Resolves when every write of the epoch
   * has been acknowledged by the replica; the number is how many there were since the last commit.
   * The vCPUs are stopped and guest requests drained when it is called; the guest may resume before
   * it resolves.
   */
  cut(): { epochDone: Promise<number> };
  /**
   * Primary: the secondary has loaded the epoch (its overlays are empty): the held writes may flow.
   */
  committed(): void;
  /**
   * Primary: the checkpoint was given up after cut(): the held writes flow, and both epochs count
   * as one. Must be called, or the guest's writes stop at the bound. The secondary needs no such
   * word: its undo data still reaches back to the last commit.
   */
  aborted(): void;
  /**
   * Secondary: how many writes of the running epoch have arrived and are in the hidden/secondary
   * disk.
   */
  arrived(): number;
  /**
   * Grows as the replica gets on: writes that it has acknowledged (primary), or that have arrived
   * here (secondary).
   */
  readonly progress: number;
  /** Primary: bytes that the replica has yet to be given before both are equal. */
  readonly behindBytes?: number;
  /**
   * Secondary, before the epoch is received: it has so many writes. VmError if others arrived, and
   * then nothing has changed. From here until checkpoint() nobody writes through the export: the
   * primary holds its next writes back, and a stranger's would not be counted.
   */
  seal(count: number): Promise<void>;
  /**
   * Secondary: the epoch's content is now the base, from the call on and whatever becomes of the
   * promise, which is about emptying active and hidden disk: the next epoch's writes must wait for
   * it. If it rejects, call again. A stop() meanwhile needs neither.
   */
  checkpoint(): Promise<void>;
  /**
   * Secondary, failover: refuses what still comes through the export, merges hidden, then active,
   * into the secondary disk, durable, before the guest runs. Otherwise takes the secondary disk
   * back to the last checkpoint and drops the overlays; it may start again. Primary: ends
   * forwarding; the guest's writes go on locally; a new replica is needed to start again. Harmless
   * when already stopped.
   */
  stop(failover: boolean): Promise<void>;
  /** The stored error that ends the epoch, if any. */
  error(): Error | undefined;
}

/**
 * Before start(): both sides digest their image, the secondary sends its digest, the primary
 * compares.
 */
export interface SyncCheck {
  /** The user vouches that both images are equal (x-assume-in-sync): skip the rest. */
  readonly assumed: boolean;
  /**
   * Checksums of the image in pieces of 1 MiB. Encoded, 16 bytes for each piece and a small header.
   */
  digest(progress?: (doneBytes: number, totalBytes: number) => void): Promise<Buffer>;
  /**
   * Primary: takes the peer's digest (untrusted) and reads its own image. The guest may run
   * meanwhile. Changes nothing.
   */
  compare(
    peerDigest: Uint8Array,
    progress?: (doneBytes: number, totalBytes: number) => void,
  ): Promise<SyncDifference>;
}

/** What is to be done about pieces that differ is the user's business, or that of the records. */
export interface SyncDifference {
  readonly bytes: number;
  /** Of those, in pieces that the guest has not written since the replica was attached. */
  readonly olderBytes: number;
  /** The replica is all zeroes: nothing of it can be lost. */
  readonly peerIsBlank: boolean;
  /** start() copies the pieces to the replica. */
  copy(): void;
  /** They are read from the replica and written here, durable. The guest has not run yet. */
  copyBack(): Promise<void>;
}
