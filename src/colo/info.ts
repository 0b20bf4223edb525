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
export interface ColoInfo extends ColoStatus, SessionInfo {
  state: ColoState;
  failover: FailoverStatus;
  pair: PairStanding;
  /** Why COLO, or the way into it, ended; or why the guest may not run. */
  why: string | undefined;
}

/** Of the present session, or the last one. */
export interface SessionInfo {
  /** For how long the pair has stood as it does. */
  sinceMs: number | undefined;
  /** Since the last checkpoint that the secondary holds whole. */
  lastCheckpointMs: number | undefined;
  /** What takes long just now, or is still to be mended, in words. */
  waitsFor: string | undefined;
  peer: string | undefined;
  /** On the way into COLO; undefined: nothing of the disks is to be done. */
  disks: DiskSyncInfo | undefined;
  /** Of the primary: how each disk was brought into step, when COLO was entered last. */
  inStep: DiskOutcome[] | undefined;
  heldPackets: number;
  statistics: ColoStatistics | undefined;
}

export const noSession: SessionInfo = {
  sinceMs: undefined,
  lastCheckpointMs: undefined,
  waitsFor: undefined,
  peer: undefined,
  disks: undefined,
  inStep: undefined,
  heldPackets: 0,
  statistics: undefined,
};
