/**
 * The disks that a checkpoint covers (QEMU's replication.h), as colo sees them: one face for the
 * side that writes, one for the side that follows. Every verb is awaited by the epoch; errors are
 * VmError.
 */

import type { IntentStanding } from '../record/image-bitmap.js';
import type { CommonPoint } from '../record/intent-sectors.js';
import type { Regions } from '../record/regions.js';

/** What both sides have in common. */
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
  readonly sync: Vouched;
  /** Knowing where alone they may differ: the write-intent bitmaps beside the images. */
  readonly intents: Intents;
  /**
   * Before anything of the disk is read for the peer. From here until stop() nothing may change
   * below the guest: no job, no other child, no other length; who asks for it gets a sentence.
   * VmError: there is no replica, or a block job runs.
   */
  claim(): void;
  /** The secondary first, then the primary. */
  start(): Promise<void>;
  /**
   * Grows as the replica gets on: writes that it has acknowledged (primary), or that have arrived
   * here (secondary).
   */
  readonly progress: number;
  /** Ends replication. Harmless when already stopped. */
  stop(failover: boolean): Promise<void>;
  /** The stored error that ends the epoch, if any. */
  error(): Error | undefined;
}

export interface PrimaryDisk extends Replicated {
  readonly sync: ImageComparison;
  readonly intents: PrimaryIntents;
  /** Of the disk, that start() has copied so far. */
  readonly copiedBytes: number;
  /**
   * Resolves when everything written since the replica was attached, and everything that copy() has
   * noted, has been taken over into the first epoch. The guest may run meanwhile.
   */
  start(): Promise<void>;
  /**
   * Closes the epoch. Writes completed to the guest before this call belong to it; later ones are
   * held back from the replica until committed(). Resolves when every write of the epoch has been
   * acknowledged by the replica; the number is how many there were since the last commit. The vCPUs
   * are stopped and guest requests drained when it is called; the guest may resume before it
   * resolves.
   */
  cut(): { epochDone: Promise<number> };
  /** The secondary has loaded the epoch (its overlays are empty): the held writes may flow. */
  committed(): void;
  /**
   * The checkpoint was given up after cut(): the held writes flow, and both epochs count as one.
   * Must be called, or the guest's writes stop at the bound. The secondary needs no such word: its
   * undo data still reaches back to the last commit.
   */
  aborted(): void;
  /** Bytes that the replica has yet to be given before both are equal. */
  readonly behindBytes: number;
  /**
   * Ends forwarding; the guest's writes go on locally; a new replica is needed to start again,
   * after a failover or not.
   */
  stop(): Promise<void>;
}

export interface SecondaryDisk extends Replicated {
  readonly sync: ImageDigest;
  readonly intents: SecondaryIntents;
  /** How many writes of the running epoch have arrived and are in the hidden/secondary disk. */
  arrived(): number;
  /**
   * Called before the epoch is received, with its count of writes. Throws a VmError when the count
   * differs, and then has changed nothing. From here until checkpoint() no client writes through
   * the export: the primary holds its next writes back, and the write of another client would not
   * be counted.
   */
  seal(count: number): Promise<void>;
  /**
   * Makes the epoch's content the base, at once. The promise is about the emptying of active and
   * hidden disk, which the next epoch's writes must wait for; if it rejects, call again. Neither is
   * needed when stop() comes first.
   */
  checkpoint(): Promise<void>;
  /**
   * Failover: refuses what still comes through the export, merges hidden, then active, into the
   * secondary disk, durable, before the guest runs. Otherwise takes the secondary disk back to the
   * last checkpoint and drops the overlays; it may start again.
   */
  stop(failover: boolean): Promise<void>;
}

export interface Vouched {
  /** The user vouches that both images are equal (x-assume-in-sync): skip the rest. */
  readonly assumed: boolean;
}

type Progress = (doneBytes: number, totalBytes: number) => void;

/** Before start() the secondary digests its image, and sends that. */
export interface ImageDigest extends Vouched {
  /**
   * Checksums of the image in pieces of 1 MiB. Encoded, 16 bytes for each piece and a small header.
   */
  digest(progress?: Progress): Promise<Buffer>;
}

/** Before start() the primary compares the secondary's image with its own. */
export interface ImageComparison extends Vouched {
  /**
   * Takes the peer's digest (untrusted) and reads its own image. The guest may run meanwhile.
   * Changes nothing.
   */
  compare(peerDigest: Uint8Array, progress?: Progress): Promise<SyncDifference>;
}

/** The point that both sides count from after this session has begun. */
export interface PointOfPair {
  readonly pair: string;
  readonly base: CommonPoint;
  /** That which they shared before, by its name. */
  readonly former?: string;
}

export interface Intents {
  standing(): IntentStanding;
  /** Where this side's image may differ from one that shares a point with it. */
  marked(): Regions;
}

export interface PrimaryIntents extends Intents {
  /**
   * Takes the peer's answer (untrusted) to the marks that were sent, and reads its own image where
   * one side has a mark. Changes nothing.
   */
  compare(sent: Regions, answer: Buffer, progress?: Progress): Promise<SyncDifference>;
  /** Longest answer. */
  readonly answerBytesMax: number;
  /**
   * From here on both images are equal but for these marks and what is marked later, durably. Both
   * media are flushed first. VmError: no bitmap can be kept.
   */
  bind(point: PointOfPair, marks: Regions): Promise<void>;
  /** The secondary keeps the point, too. */
  confirm(): void;
}

export interface SecondaryIntents extends Intents {
  /** sent: the primary's marks, untrusted. */
  answer(sent: Uint8Array, progress?: Progress): Promise<Buffer>;
  /** Durable before the first byte from the primary. VmError: no bitmap can be kept. */
  adopt(point: PointOfPair): Promise<void>;
}

/** What is to be done about pieces that differ is the user's business, or that of the records. */
export interface SyncDifference {
  /** Read here, and at the peer. */
  readonly lookedBytes: number;
  /** Where the images may not be equal. */
  readonly marks: Regions;
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
