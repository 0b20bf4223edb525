/** The shared words of the field, as QEMU's QAPI schema spells them. */

export const runStates = [
  'inmigrate',
  'prelaunch',
  'paused',
  'running',
  'finish-migrate',
  'postmigrate',
  'restore-vm',
  'save-vm',
  'colo',
  'shutdown',
  'internal-error',
  'io-error',
  'guest-panicked',
  'suspended',
  'watchdog',
  'debug',
  'preconfig',
] as const;
export type RunState = (typeof runStates)[number];

export const migrationStatuses = [
  'none',
  'setup',
  'cancelling',
  'cancelled',
  'active',
  'device',
  'colo',
  'completed',
  'failed',
] as const;
export type MigrationStatus = (typeof migrationStatuses)[number];

export const coloModes = ['none', 'primary', 'secondary'] as const;
export type ColoMode = (typeof coloModes)[number];

export const coloExitReasons = ['none', 'request', 'error', 'processing'] as const;
export type ColoExitReason = (typeof coloExitReasons)[number];

export const failoverStatuses = ['none', 'require', 'active', 'completed', 'relaunch'] as const;
export type FailoverStatus = (typeof failoverStatuses)[number];

/** How a side of a pair stands, for whoever has to decide something. */
export const pairStandings = [
  'alone', // the guest is here and nobody else has it
  'waiting', // a secondary without a primary
  'held', // the guest may not run: another side may have it
  'joining', // on the way into COLO
  'protected',
  'lost', // COLO has ended by itself; x-colo-lost-heartbeat decides who goes on
  'taking-over',
  'handing-over', // a planned swap of roles: the secondary is given the guest
  'superseded', // the other side goes on with the guest
  'broken', // what is here is not whole and can never run
  'ended', // the guest shut down, on both sides
] as const;
export type PairStanding = (typeof pairStandings)[number];

/** COLOMessage of QEMU; the value is the ordinal on the wire. */
export const coloMessages = [
  'checkpoint-ready',
  'checkpoint-request',
  'checkpoint-reply',
  'vmstate-send',
  'vmstate-size',
  'vmstate-received',
  'vmstate-loaded',
  'guest-shutdown',
] as const;
export type ColoMessage = (typeof coloMessages)[number];

export const jobTypes = ['mirror', 'commit', 'backup', 'stream'] as const;
export type JobType = (typeof jobTypes)[number];

export const jobStatuses = [
  'created',
  'running',
  'paused',
  'ready',
  'standby',
  'waiting',
  'pending',
  'aborting',
  'concluded',
  'null',
] as const;
export type JobStatus = (typeof jobStatuses)[number];

interface BlockJobEvent {
  type: JobType;
  device: string;
  len: number;
  offset: number;
  speed: number;
}

/** Payloads of the QMP events that colo emits. */
/** An end of a connection of VNC. */
export interface VncPeer {
  host: string;
  /** Its port. */
  service: string;
  family: 'ipv4' | 'ipv6';
  websocket: boolean;
}
export interface VncEvent {
  server: VncPeer & { auth?: string };
  client: VncPeer;
}

export interface QmpEvents {
  /** checkpoint: of COLO, which the guest does not feel. */
  STOP: { checkpoint?: boolean };
  RESUME: { checkpoint?: boolean };
  RESET: { guest: boolean; reason: string };
  SHUTDOWN: { guest: boolean; reason: string };
  POWERDOWN: Record<string, never>;
  MIGRATION: { status: MigrationStatus };
  MIGRATION_PASS: { pass: number };
  COLO_EXIT: { mode: ColoMode; reason: ColoExitReason; error?: string };
  QUORUM_FAILURE: { reference: string; 'sector-num': number; 'sectors-count': number };
  QUORUM_REPORT_BAD: {
    type: 'read' | 'write' | 'flush';
    error?: string;
    'node-name': string;
    'sector-num': number;
    'sectors-count': number;
  };
  BLOCK_IO_ERROR: {
    device: string;
    'node-name': string;
    operation: 'read' | 'write';
    action: 'report' | 'ignore' | 'stop';
    nospace: boolean;
    reason: string;
  };
  BLOCK_JOB_READY: BlockJobEvent;
  BLOCK_JOB_PENDING: { type: JobType; id: string };
  BLOCK_JOB_ERROR: {
    device: string;
    operation: 'read' | 'write';
    action: 'report' | 'ignore' | 'stop';
  };
  BLOCK_JOB_COMPLETED: BlockJobEvent & { error?: string };
  BLOCK_JOB_CANCELLED: BlockJobEvent;
  JOB_STATUS_CHANGE: { id: string; status: JobStatus };
  BLOCK_IMAGE_CORRUPTED: { device: string; 'node-name'?: string; msg: string; fatal: boolean };
  NIC_RX_FILTER_CHANGED: { name?: string; path: string };
  DEVICE_TRAY_MOVED: { device: string; id: string; 'tray-open': boolean };
  VNC_CONNECTED: VncEvent;
  VNC_INITIALIZED: VncEvent;
  VNC_DISCONNECTED: VncEvent;
  /** Our own: an exception of a device was contained; it takes no part until it is reset. */
  DEVICE_BROKEN: { device: string; reason: string };
}
