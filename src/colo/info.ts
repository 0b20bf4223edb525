/** What users see of a pair: query-colo-status, and what `info colo` and status add. */
import type { ColoExitReason, ColoMode, FailoverStatus, PairStanding } from '../qapi/types.js';
import type { DiskOutcome, DiskSyncInfo } from './disk-sync.js';
import type { ColoState } from './failover.js';
import type { ColoStatistics } from './statistics.js';

/** query-colo-status. */
export interface ColoStatus {
  mode: ColoMode;
  'last-mode': ColoMode;
  reason: ColoExitReason;
}

/** `info colo`: more than QMP's three words. */
export interface ColoInfo extends ColoStatus {
  state: ColoState;
  failover: FailoverStatus;
  pair: PairStanding;
  /** For how long it has stood so. */
  sinceMs: number | undefined;
  /** Since the last checkpoint that the secondary holds whole. */
  lastCheckpointMs: number | undefined;
  /** Why COLO, or the way into it, ended; or why the guest may not run. */
  why: string | undefined;
  /** What takes long just now. */
  waitsFor: string | undefined;
  peer: string | undefined;
  /** On the way into COLO; undefined: nothing of the disks is to be done. */
  disks: DiskSyncInfo | undefined;
  /** Of the primary: how each disk was brought into step, when COLO was entered last. */
  inStep: DiskOutcome[] | undefined;
  heldPackets: number;
  statistics: ColoStatistics | undefined;
}
