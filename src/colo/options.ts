/**
 * Times and limits of a pair. Every wait has one. The machine makes them from parameters; a test
 * makes them small.
 */
import { VmError, assert } from '../base/errors.js';
import { CHUNK_PAGES_MAX, PAGE_BYTES } from '../migration/pages.js';
import type { SyncFrom } from '../migration/manifest.js';
import type { TransferLimits } from '../migration/transfer.js';

export interface ColoOptions extends TransferLimits {
  /**
   * x-checkpoint-delay: at most from the start of a checkpoint to the start of the next, which
   * follows at once when the first took longer.
   */
  checkpointDelayMs: number;
  /**
   * x-checkpoint-gap: at least from start to start where the guest's output waits for a checkpoint.
   * It is longer where pauses would cost the guest more than a tenth of its time, and never longer
   * than the delay.
   */
  checkpointGapMs: number;
  /** Consecutive aborted checkpoints that end COLO. */
  abortsMax: number;
  /**
   * x-heartbeat-interval: both sides show so often that they live, and the primary pings. Ten in
   * the usual time-out may be lost or late, and the lease is asked for ten times before it ends.
   */
  heartbeatMs: number;
  /**
   * x-heartbeat-timeout: the peer is lost without a sign of life for this long. The usual one is
   * over when the lease of the last answer is (leaseMs, leaseMarginMs): less would not open the
   * other network earlier.
   */
  peerTimeoutMs: number;
  /**
   * A main loop that has not turned for this long is stuck: its process does not count as alive any
   * more. Longer than any collection of garbage.
   */
  loopLimitMs: number;
  /**
   * A proof of life allows the primary to release output for so long, counted from when it asked.
   */
  leaseMs: number;
  /** What the secondary waits beyond the lease: two clocks that do not run equally fast. */
  leaseMarginMs: number;
  /** How long the secondary waits for `stopped` after it asked. */
  stopTimeoutMs: number;
  /** The replica's last acknowledgement of an epoch. */
  diskTimeoutMs: number;
  /** Starting replication: digests, the copy of what differs. */
  syncTimeoutMs: number;
  /** A wait without a limit is reported after this time. */
  tellWaitMs: number;
  /** Until what failed, and must not be given up, is tried again. */
  retryMs: number;
  connectTimeoutMs: number;
  /**
   * The primary copies its dirty pages at least so fast. It can say nothing while it does, so the
   * secondary waits that much longer for it.
   */
  copyBytesPerMs: number;
  precopyRounds: number;
  precopyEnoughPages: number;
  /**
   * x-sync-from, the user's word for the next time that COLO begins: whose disks are kept where
   * they differ and no record says which are newer.
   */
  syncFrom: SyncFrom | undefined;
  /** Compare a hash of all RAM on both sides at every checkpoint. */
  verifyRam: boolean;
}

export type CheckpointPace = Pick<ColoOptions, 'checkpointDelayMs' | 'checkpointGapMs'>;
export type HeartbeatTimes = Pick<ColoOptions, 'heartbeatMs' | 'peerTimeoutMs' | 'loopLimitMs'>;

/** A peer's own may be no longer. */
export const HEARTBEAT_INTERVAL_MAX_MS = 10_000;
/** Fewer signs of life in the time-out, and one lost datagram or late timer has a peer lost. */
export const BEATS_MIN = 3;

export const defaultColoOptions: ColoOptions = {
  checkpointDelayMs: 100,
  checkpointGapMs: 10,
  abortsMax: 5,
  heartbeatMs: 100,
  peerTimeoutMs: 1000,
  loopLimitMs: 5000,
  leaseMs: 1000,
  leaseMarginMs: 250,
  stopTimeoutMs: 1000,
  replyTimeoutMs: 30_000,
  idleTimeoutMs: 60_000,
  diskTimeoutMs: 30_000,
  syncTimeoutMs: 24 * 3600_000,
  tellWaitMs: 2000,
  retryMs: 1000,
  connectTimeoutMs: 10_000,
  blobBytesMax: 256 * 1024 * 1024,
  chunkPages: CHUNK_PAGES_MAX,
  turnBytes: 16 * 1024 * 1024,
  copyBytesPerMs: 64 * 1024,
  precopyRounds: 8,
  precopyEnoughPages: 2048,
  syncFrom: undefined,
  verifyRam: false,
};

/** How long the copy of so many pages may take while the guest stands still. */
export const copyMs = (pages: number, { copyBytesPerMs }: Pick<ColoOptions, 'copyBytesPerMs'>) =>
  Math.ceil((pages * PAGE_BYTES) / copyBytesPerMs);

/**
 * A lease that outlives the heartbeat's own period would be no fence; one that is shorter would
 * never be valid.
 */
export function checkOptions(o: ColoOptions): ColoOptions {
  assert(o.leaseMs > o.heartbeatMs, 'the lease is longer than a heartbeat');
  checkHeartbeat(o);
  assert(o.chunkPages >= 1 && o.chunkPages <= CHUNK_PAGES_MAX, 'pages in a chunk');
  assert(o.leaseMarginMs * 20 >= o.leaseMs, 'the margin covers 5 % of clock drift');
  return o;
}

/** As a user may set it. */
export function checkPace(changes: Partial<CheckpointPace>): Partial<CheckpointPace> {
  for (const ms of Object.values(changes))
    if (!Number.isSafeInteger(ms) || ms < 0)
      throw new VmError(`${ms} is not a number of milliseconds between checkpoints`);
  return changes;
}

/** As a user may set them. VmError: they contradict each other, or the lease. */
export function checkHeartbeat({
  heartbeatMs,
  peerTimeoutMs,
  leaseMs,
}: Pick<ColoOptions, 'heartbeatMs' | 'peerTimeoutMs' | 'leaseMs'>): void {
  const most = leaseMs / 2;
  if (heartbeatMs > most)
    throw new VmError(`x-heartbeat-interval ${heartbeatMs}: it is at most ${most} ms`, {
      hint: `The primary's output leaves only within ${leaseMs} ms of an answer to a heartbeat.`,
    });
  const least = heartbeatMs * BEATS_MIN;
  if (peerTimeoutMs < least)
    throw new VmError(
      `x-heartbeat-timeout ${peerTimeoutMs}: it is at least ${BEATS_MIN} intervals, ${least} ms`,
    );
}
