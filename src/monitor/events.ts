/**
 * Events as QMP sends them: names, what each carries, and what a machine emits turned into one
 * stream.
 */
import type { Disposable } from '../base/disposable.js';
import { Disposables } from '../base/disposable.js';
import {
  coloExitReasons,
  coloModes,
  jobStatuses,
  jobTypes,
  migrationStatuses,
  type QmpEvents,
} from '../qapi/types.js';
import {
  type ArgsOf,
  bool,
  type Fields,
  int,
  oneOf,
  optional,
  str,
  struct,
} from '../words/types.js';
import type { Vm } from '../vm/vm.js';

export type EventName = keyof QmpEvents;

/** What each one tells. */
export const eventSummaries: Readonly<Record<EventName, string>> = {
  STOP: 'the guest stands still; checkpoint: for a moment, for a checkpoint of COLO',
  RESUME: 'the guest runs again; checkpoint: after one of COLO',
  RESET: 'the machine was reset, by the guest or from outside',
  SHUTDOWN: 'the machine is over, or stays there stopped (-no-shutdown)',
  POWERDOWN: 'the power button was pressed (system_powerdown)',
  MIGRATION: 'the status of migration changed; only while the capability `events` is on',
  MIGRATION_PASS:
    'a pass of a migration over the RAM begins; only while the capability `events` is on',
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
  DEVICE_TRAY_MOVED: 'the tray of a CD-ROM drive was opened or closed, by the guest or by a user',
  VNC_CONNECTED: 'a viewer has connected',
  VNC_INITIALIZED: 'a viewer was let in and sees the screen',
  VNC_DISCONNECTED: 'a viewer is gone',
  DEVICE_BROKEN:
    'a device failed inside of colo and takes no part until its driver or a reset of the ' +
    'machine resets it; everything else goes on',
};
const jobType = oneOf(jobTypes, '', { name: 'JobType' });
const ioOperation = oneOf(['read', 'write'], '', { name: 'IoOperationType' });
const ioAction = oneOf(['report', 'ignore', 'stop'], '', { name: 'BlockErrorAction' });
const blockJob = { type: jobType, device: str(), len: int(), offset: int(), speed: int() };
const checkpoint = optional(bool());
/** Also of a viewer that `query-vnc` names. */
export const vncPeer = {
  host: str(),
  service: str(),
  family: oneOf(['ipv4', 'ipv6'], '', { name: 'NetworkAddressFamily' }),
  websocket: bool(),
};
const vncEvent = {
  server: struct('VncServerInfo', { ...vncPeer, auth: optional(str()) }),
  client: struct('VncBasicInfo', vncPeer),
};
const sectors = { 'sector-num': int(), 'sectors-count': int() };

/** What each one carries. */
export const eventData = {
  STOP: { checkpoint },
  RESUME: { checkpoint },
  RESET: { guest: bool(), reason: str() },
  SHUTDOWN: { guest: bool(), reason: str() },
  POWERDOWN: {},
  MIGRATION: { status: oneOf(migrationStatuses, '', { name: 'MigrationStatus' }) },
  MIGRATION_PASS: { pass: int() },
  COLO_EXIT: {
    mode: oneOf(coloModes, '', { name: 'COLOMode' }),
    reason: oneOf(coloExitReasons, '', { name: 'COLOExitReason' }),
    error: optional(str()),
  },
  QUORUM_FAILURE: { reference: str(), ...sectors },
  QUORUM_REPORT_BAD: {
    type: oneOf(['read', 'write', 'flush'], '', { name: 'QuorumOpType' }),
    error: optional(str()),
    'node-name': str(),
    ...sectors,
  },
  BLOCK_IO_ERROR: {
    device: str(),
    'node-name': str(),
    operation: ioOperation,
    action: ioAction,
    nospace: bool(),
    reason: str(),
  },
  BLOCK_JOB_READY: blockJob,
  BLOCK_JOB_PENDING: { type: jobType, id: str() },
  BLOCK_JOB_ERROR: { device: str(), operation: ioOperation, action: ioAction },
  BLOCK_JOB_COMPLETED: { ...blockJob, error: optional(str()) },
  BLOCK_JOB_CANCELLED: blockJob,
  JOB_STATUS_CHANGE: { id: str(), status: oneOf(jobStatuses, '', { name: 'JobStatus' }) },
  BLOCK_IMAGE_CORRUPTED: { device: str(), 'node-name': optional(str()), msg: str(), fatal: bool() },
  NIC_RX_FILTER_CHANGED: { name: optional(str()), path: str() },
  DEVICE_TRAY_MOVED: { device: str(), id: str(), 'tray-open': bool() },
  VNC_CONNECTED: vncEvent,
  VNC_INITIALIZED: vncEvent,
  VNC_DISCONNECTED: vncEvent,
  DEVICE_BROKEN: { device: str(), reason: str() },
} satisfies { [N in EventName]: Fields };

/** The compiler compares the table with what the machine emits. */
type Declared<T extends { [N in EventName]: ArgsOf<(typeof eventData)[N]> }> = T;
type EventData = Declared<QmpEvents>[EventName];

export const eventNames = (Object.keys(eventSummaries) as EventName[]).sort();

/** Checkpoints of COLO come several times a second, and the guest does not feel them. */
export function isForPeople(name: string, data: object): boolean {
  if (name !== 'STOP' && name !== 'RESUME') return true;
  return !('checkpoint' in data && data.checkpoint === true);
}

/**
 * Calls fn for every event. MIGRATION and MIGRATION_PASS only while the capability `events` is on.
 */
export function onEveryEvent(vm: Vm, fn: (name: EventName, data: EventData) => void): Disposable {
  const all = new Disposables();
  for (const name of eventNames)
    all.add(
      vm.machine.events.on(name, data => {
        if (!name.startsWith('MIGRATION') || migrationEventsWanted(vm)) fn(name, data);
      }),
    );
  return all;
}

function migrationEventsWanted(vm: Vm): boolean {
  return vm.colo.capability.get('events') === true;
}
