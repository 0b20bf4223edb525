/** Migration and its capabilities and parameters. */
import { VmError } from '../../base/errors.js';
import type { Colo } from '../../colo/colo.js';
import type { MigrationData } from '../../migration/status.js';
import type { Capability, MigrationControl, MigrationInfo } from '../vm.js';

const pageBytes = 4096;

export function migrationControl(colo: Colo): MigrationControl {
  const state = new Map([
    ['x-colo', false],
    ['events', false],
  ]);
  return {
    start: uri => {
      if (!state.get('x-colo')) throw new VmError('only migration into COLO is offered', { hint: 'Switch it on first: migrate_set_capability x-colo on.' });
      colo.migrate(uri);
      return Promise.resolve();
    },
    cancel: () => colo.cancel(),
    info: () => migrationInfo(colo.query()),
    capabilities: () => [...state].map(([capability, on]): Capability => ({ capability, state: on })),
    setCapabilities: changes => {
      if (colo.migration.busy) throw new VmError("There's a migration process in progress");
      for (const change of changes) state.set(change.capability, change.state);
    },
    parameters: () => ({ 'x-checkpoint-delay': colo.info().checkpointDelayMs }),
    setParameters: changes => {
      const delay = changes['x-checkpoint-delay'];
      if (delay !== undefined) colo.setCheckpointDelay(delay);
    },
  };
}

function migrationInfo(data: MigrationData): MigrationInfo {
  if (data.status === 'none') return {};
  return {
    status: data.status,
    ram: { transferred: data.ramTransferredBytes, remaining: data.dirtyPages * pageBytes, total: data.ramTotalBytes, 'dirty-sync-count': data.rounds },
    'total-time': Math.round(data.totalMs),
    'error-desc': data.error,
  };
}
