/** The parameters of migrations. A running migration follows a change. */

export interface MigrationParameters {
  /** max-bandwidth, bytes a second for RAM while the guest runs; 0: no limit. */
  maxBandwidth: number;
  /** downtime-limit: how long the guest may stand still at the end of a migration without COLO. */
  downtimeLimitMs: number;
}

export const defaultParameters: MigrationParameters = { maxBandwidth: 0, downtimeLimitMs: 300 };
