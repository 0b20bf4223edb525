/** The parameters of migrations. A running migration follows a change. */

export interface MigrationParameters {
  /** max-bandwidth, bytes a second for RAM while the guest runs; 0: no limit. */
  maxBandwidth: number;
  /** downtime-limit: how long the guest may stand still at the end of a migration without COLO. */
  downtimeLimitMs: number;
  /** xbzrle-cache-size: what COLO's primary keeps of pages that it has sent. */
  xbzrleCacheBytes: number;
}

export const defaultParameters: MigrationParameters = {
  maxBandwidth: 0,
  downtimeLimitMs: 300,
  xbzrleCacheBytes: 64 * 1024 * 1024,
};
