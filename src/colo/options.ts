/**
 * Times and limits of a pair. Every wait has one. The machine makes them from parameters; a test
 * makes them small.
 */
import { assert } from '../base/errors.js';
import { chunkPagesMax, pageBytes } from '../migration/pages.js';
import type { SyncFrom } from '../migration/manifest.js';
import type { TransferLimits } from '../migration/transfer.js';

export interface ColoOptions extends TransferLimits {
  /**
   * x-checkpoint-delay: from the end of a checkpoint to the start of the next. Every answer of the
   * guest waits for it; at less than 50 ms the guest loses work and the wire carries twice the
   * bytes, above it only the answers become later.
   */
  checkpointDelayMs: number;
  /** Consecutive aborted checkpoints that end COLO. */
  abortsMax: number;
  /** The primary pings this often, the secondary answers. */
  heartbeatMs: number;
  /** No byte from the peer for so long: it is lost. */
  peerTimeoutMs: number;
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
  /** What may take as long as it takes is told of after so long. */
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

export const defaultColoOptions: ColoOptions = {
  checkpointDelayMs: 50,
  abortsMax: 5,
  heartbeatMs: 200,
  peerTimeoutMs: 5000,
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
  chunkPages: chunkPagesMax,
  turnBytes: 16 * 1024 * 1024,
  copyBytesPerMs: 64 * 1024,
  precopyRounds: 8,
  precopyEnoughPages: 2048,
  syncFrom: undefined,
  verifyRam: false,
};

/** How long the copy of so many pages may take while the guest stands still. */
export const copyMs = (pages: number, { copyBytesPerMs }: Pick<ColoOptions, 'copyBytesPerMs'>) =>
  Math.ceil((pages * pageBytes) / copyBytesPerMs);

/**
 * A lease that outlives the heartbeat's own period would be no fence; one that is shorter would
 * never be valid.
 */
export function checkOptions(o: ColoOptions): ColoOptions {
  assert(
    o.leaseMs > o.heartbeatMs && o.peerTimeoutMs > o.heartbeatMs,
    'lease and peer time-out are longer than a heartbeat',
  );
  assert(o.chunkPages >= 1 && o.chunkPages <= chunkPagesMax, 'pages in a chunk');
  assert(o.leaseMarginMs * 20 >= o.leaseMs, 'the margin covers 5 % of clock drift');
  return o;
}
