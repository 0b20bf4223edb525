/** Events as QMP sends them: names, and what a machine emits turned into one stream. */
import type { Disposable } from '../base/disposable.js';
import { Disposables } from '../base/disposable.js';
import type { QmpEvents } from '../qapi/types.js';
import type { VmControl } from './vm.js';

export type EventName = keyof QmpEvents;

const everyEvent: Readonly<Record<EventName, true>> = {
  STOP: true,
  RESUME: true,
  RESET: true,
  SHUTDOWN: true,
  POWERDOWN: true,
  MIGRATION: true,
  COLO_EXIT: true,
  QUORUM_FAILURE: true,
  QUORUM_REPORT_BAD: true,
  BLOCK_IO_ERROR: true,
  NIC_RX_FILTER_CHANGED: true,
};
export const eventNames = (Object.keys(everyEvent) as EventName[]).sort();

/** Calls fn for every event. MIGRATION only while the capability `events` is on, where the machine has that capability. */
export function onEveryEvent(vm: VmControl, fn: (name: EventName, data: object) => void): Disposable {
  const all = new Disposables();
  for (const name of eventNames) all.add(vm.events.on(name, data => { if (name !== 'MIGRATION' || migrationEventsWanted(vm)) fn(name, data); }));
  return all;
}

function migrationEventsWanted(vm: VmControl): boolean {
  return vm.migration?.capabilities().find(c => c.capability === 'events')?.state ?? true;
}
