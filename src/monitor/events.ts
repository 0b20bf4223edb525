/** Events as QMP sends them: names, and what a machine emits turned into one stream. */
import type { Disposable } from '../base/disposable.js';
import { Disposables } from '../base/disposable.js';
import type { QmpEvents } from '../qapi/types.js';
import type { VmControl } from './vm.js';

export type EventName = keyof QmpEvents;

/** What each one tells. */
export const eventSummaries: Readonly<Record<EventName, string>> = {
  STOP: 'the guest stands still',
  RESUME: 'the guest runs again',
  RESET: 'the machine was reset, by the guest or from outside',
  SHUTDOWN: 'the machine is over, or stays there stopped (-no-shutdown)',
  POWERDOWN: 'the power button was pressed (system_powerdown)',
  MIGRATION: 'the status of migration changed; only while the capability `events` is on',
  MIGRATION_PASS: 'a pass of a migration over the RAM begins; only while the capability `events` is on',
  COLO_EXIT: 'COLO ended: as asked (request), or because the peer or a checkpoint failed (error)',
  QUORUM_FAILURE: 'a read or write failed on too many children of a quorum',
  QUORUM_REPORT_BAD: 'one child of a quorum failed',
  BLOCK_IO_ERROR: 'a disk failed a request of the guest',
  BLOCK_JOB_READY: 'source and target are alike, and the job keeps them so',
  BLOCK_JOB_PENDING: 'the work is done, and counts after job-finalize',
  BLOCK_JOB_ERROR: 'a read or write of a job failed; what it does about it',
  BLOCK_JOB_COMPLETED: 'a job is over, well or with an error',
  BLOCK_JOB_CANCELLED: 'a job was cancelled, and its target is not to be used',
  JOB_STATUS_CHANGE: 'a job changed its status',
  BLOCK_IMAGE_CORRUPTED: 'the tables of an image contradict themselves; it takes no more writes',
  NIC_RX_FILTER_CHANGED: 'the guest changed what its network card receives',
};
export const eventNames = (Object.keys(eventSummaries) as EventName[]).sort();

/** Calls fn for every event. MIGRATION and MIGRATION_PASS only while the capability `events` is on, where the machine has that capability. */
export function onEveryEvent(vm: VmControl, fn: (name: EventName, data: object) => void): Disposable {
  const all = new Disposables();
  for (const name of eventNames) all.add(vm.events.on(name, data => { if (!name.startsWith('MIGRATION') || migrationEventsWanted(vm)) fn(name, data); }));
  return all;
}

function migrationEventsWanted(vm: VmControl): boolean {
  return vm.migration?.capabilities().find(c => c.capability === 'events')?.state ?? true;
}
