/** COLO: mode, statistics, failover. */
import type { Colo } from '../../colo/colo.js';
import type { ColoControl } from '../vm.js';

export function coloControl(colo: Colo): ColoControl {
  return {
    status: () => {
      const { why, sinceMs, lastCheckpointMs: last } = colo.info();
      return {
        ...colo.status(),
        ...(why !== undefined && { error: why }),
        ...(sinceMs !== undefined && { 'since-ms': Math.round(sinceMs) }),
        ...(last !== undefined && { 'last-checkpoint-ms': Math.round(last) }),
      };
    },
    statistics: () => {
      const counted = colo.info().statistics;
      if (!counted) return undefined;
      const typical = (measure: 'pages' | 'ramBytes' | 'pauseMs', p = 0.5) =>
        counted.percentile(measure, p) ?? 0;
      return {
        checkpoints: counted.done,
        pauseMs: { p50: typical('pauseMs'), p99: typical('pauseMs', 0.99) },
        pagesPerCheckpoint: typical('pages'),
        bytesPerCheckpoint: typical('ramBytes'),
      };
    },
    lostHeartbeat: async () => (colo.waitsForWord ? colo.runByOrder() : colo.lostHeartbeat()),
  };
}
