/**
 * What the commands need of a virtual machine, and nothing else. A part that a machine lacks is
 * undefined, and its commands are then absent: they are refused by name. Failures of an operation
 * are VmError and are shown as they are.
 */
import type { MappedPage } from '../accel/page-tables.js';
import type { Events } from '../base/events.js';
import type { ErrorPolicy, JobInfo } from '../block/jobs/contract.js';
import type { CharSpec } from '../chardev/contract.js';
import type { NetdevSpec } from '../machine/spec.js';
import type { AnnounceSchedule } from '../net/packet/announce.js';
import type {
  ColoExitReason,
  ColoMode,
  MigrationStatus,
  PairStanding,
  QmpEvents,
  RunState,
} from '../qapi/types.js';
import type { Version } from '../vm/host.js';

export type { JobInfo };

export interface VmControl {
  /** `-name`, if given. */
  readonly name: string | undefined;
  readonly uuid: string;
  readonly version: Version;
  /** present: this host's KVM can run a guest. enabled: this machine does. */
  readonly kvm: { readonly present: boolean; readonly enabled: boolean };
  readonly runState: RunState;
  readonly events: Events<QmpEvents>;
  /** Resolves when nothing of the guest runs. */
  stop(): Promise<void>;
  cont(): void | Promise<void>;
  reset(): void | Promise<void>;
  powerdown(): void;
  /** The machine ends after this turn of the main loop: the answer to the command still leaves. */
  quit(): void;
  readonly migration?: MigrationControl;
  readonly colo?: ColoControl;
  readonly block?: BlockControl;
  readonly jobs?: JobControl;
  readonly network?: NetworkControl;
  readonly inspect?: InspectControl;
  readonly process?: ProcessControl;
  readonly chardevs?: ChardevControl;
  readonly objects?: ObjectControl;
  readonly traces?: TraceControl;
  readonly yank?: YankControl;
}

export interface ChardevControl {
  /** connected: a peer is there. used: by a device or a monitor. */
  info(): readonly {
    readonly id: string;
    readonly label: string;
    readonly connected: boolean;
    readonly used: boolean;
  }[];
  /** Those that have a connection to end. */
  yankable(): readonly string[];
  yank(id: string): void;
  /** Resolves when it is open. */
  add(id: string, backend: CharSpec): Promise<void>;
  /** VmError that names the user while it has one. */
  remove(id: string): void;
  /** VmError: it is none. */
  ringbuf(id: string): { read(bytes: number): Uint8Array; write(bytes: Uint8Array): void };
}

/** `-object`, object-add: filters and the like. */
export interface ObjectControl {
  /** In the order in which they came. users: as a refusal names them. */
  list(): readonly {
    readonly id: string;
    readonly type: string;
    readonly users: readonly string[];
  }[];
  /**
   * Properties as QMP sends them. Resolves when the object is there; VmError: nothing is left of
   * it.
   */
  objectAdd(type: string, id: string, properties: Readonly<Record<string, unknown>>): Promise<void>;
  /** `TYPE,id=ID,...`, as -object takes it. */
  objectAddText(text: string): Promise<void>;
  /** VmError that names the user while somebody uses it. */
  objectDel(id: string): void;
  /** Name and type of each. DeviceNotFound: no such object. */
  properties(id: string): readonly { readonly name: string; readonly type: string }[];
  /** undefined: it was not given. */
  get(id: string, property: string): unknown;
  set(id: string, property: string, value: unknown): void;
}

/** A connection that may wait for a peer that is dead (QAPI YankInstance). */
export type YankInstance =
  | { readonly type: 'block-node'; readonly 'node-name': string }
  | { readonly type: 'chardev'; readonly id: string }
  | { readonly type: 'migration' };

export interface YankControl {
  instances(): readonly YankInstance[];
  /** Ends them now. DeviceNotFound, and none of them, if one is not there. */
  yank(instances: readonly YankInstance[]): void;
}

export interface TraceControl {
  /** Sorted by name. */
  list(): readonly { readonly name: string; readonly on: boolean }[];
  set(name: string, on: boolean): void;
}

export const vmRoles = ['primary', 'secondary', 'alone'] as const;

/** The VM among other VMs: what `colo list` shows. */
export interface ProcessControl {
  readonly pid: number;
  /** Of this process. */
  readonly ageMs: number;
  /**
   * primary and secondary: of a pair that is joined, or waits to be. alone: nobody would take over.
   */
  readonly role: (typeof vmRoles)[number];
  readonly peer: string | undefined;
  /** A loss of the primary's host would be survived. */
  readonly isProtected: boolean;
  readonly pair: PairStanding;
  /** Why COLO, or the way into it, ended the last time. */
  readonly why: string | undefined;
  /** For how long the pair has stood so. */
  readonly sinceMs: number;
  /** Since the last checkpoint that the secondary holds whole; undefined: there was none. */
  readonly lastCheckpointMs: number | undefined;
  readonly ramBytes: number;
  /** Log lines and trace events go into this file from now on. */
  logInto(path: string): void;
}

/** QAPI's; a port may be a name of a service there, so it is text. */
export interface SocketAddress {
  readonly type: 'inet' | 'unix';
  readonly host?: string;
  readonly port?: string;
  readonly path?: string;
}

export interface MigrationInfo {
  /** undefined: there never was one. */
  readonly status?: MigrationStatus;
  /** Bytes, pages, and per second. The side that receives knows the first three. */
  readonly ram?: {
    readonly transferred: number;
    readonly remaining: number;
    readonly total: number;
    readonly duplicate?: number;
    readonly normal?: number;
    readonly 'normal-bytes'?: number;
    readonly mbps?: number;
    readonly 'dirty-pages-rate'?: number;
    readonly 'dirty-sync-count': number;
    readonly 'page-size': number;
  };
  /** On the way into COLO: the images are read, compared, and what differs is copied. */
  readonly disk?: {
    readonly phase: 'digest' | 'compare' | 'copy';
    readonly transferred: number;
    readonly remaining: number;
    readonly total: number;
  };
  readonly 'total-time'?: number;
  readonly 'expected-downtime'?: number;
  readonly 'setup-time'?: number;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  /** Where it waits for a migration. */
  readonly 'socket-address'?: readonly SocketAddress[];
}

export interface Capability {
  readonly capability: string;
  readonly state: boolean;
}

export interface MigrationControl {
  /**
   * Accepts the migration and returns; later failures are in info(). VmError: refused (bad URI, one
   * is running, in COLO ...).
   */
  start(uri: string): Promise<void>;
  /** Waits for a migration, or begins to load a state; failures of a load are in info(). */
  incoming(uri: string): Promise<void>;
  cancel(): void;
  info(): MigrationInfo;
  /** Every capability that this machine has, in a fixed order. */
  capabilities(): readonly Capability[];
  /** All or none. */
  setCapabilities(changes: readonly Capability[]): void;
  /**
   * Every parameter that this machine has, in a fixed order; units as in QMP (ms, bytes per
   * second).
   */
  parameters(): Readonly<Record<string, number | boolean | string>>;
  /** Takes effect on a running migration or COLO at once. All or none. */
  setParameters(changes: Readonly<Record<string, number | boolean | string>>): void;
}

/** Of the primary, since COLO was entered. */
export interface ColoStatistics {
  readonly checkpoints: number;
  /** How long the guest stood still. */
  readonly pauseMs: { readonly p50: number; readonly p99: number };
  readonly pagesPerCheckpoint: number;
  readonly bytesPerCheckpoint: number;
}

export interface ColoControl {
  status(): {
    readonly mode: ColoMode;
    readonly 'last-mode': ColoMode;
    readonly reason: ColoExitReason;
    readonly error?: string;
    readonly 'since-ms'?: number;
    readonly 'last-checkpoint-ms'?: number;
  };
  /** undefined where there is nothing to count. */
  statistics(): ColoStatistics | undefined;
  /** VmError when not in COLO or already requested. */
  lostHeartbeat(): Promise<void>;
}

export type NbdAddress =
  { type: 'inet'; host: string; port: number } | { type: 'unix'; path: string };

export interface NbdServerInfo {
  readonly address: NbdAddress;
  readonly exports: readonly {
    readonly name: string;
    readonly writable: boolean;
    readonly node: string;
    readonly clients: number;
  }[];
}

export interface BlockInfo {
  /** `-drive id=`; '' for a node, and for the disk of a device that names a node. */
  readonly device: string;
  readonly nodeName: string;
  readonly driver: string;
  readonly file: string;
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  /** Of a device: ok, or what stopped the guest. */
  readonly ioStatus?: 'ok' | 'failed' | 'nospace';
  readonly cache: {
    readonly writeback: boolean;
    readonly direct: boolean;
    readonly 'no-flush': boolean;
  };
  readonly detectZeroes: boolean;
  /** How many images stand behind this one. */
  readonly backingDepth: number;
  /** The guest device in front. */
  readonly qdev?: string;
  readonly children: readonly { readonly child: string; readonly nodeName: string }[];
  readonly bitmaps: readonly {
    readonly name: string;
    readonly count: number;
    readonly granularity: number;
    readonly recording: boolean;
    readonly busy: boolean;
  }[];
  /** Of a device that has limits. */
  readonly throttle?: IoThrottle;
  /** `children.0: raw /path`, `mode=primary` ...: one line each for `info block`. */
  readonly details: readonly string[];
}

/** In the words of block_set_io_throttle; 0: no limit. */
export interface IoThrottle {
  readonly bps: number;
  readonly bps_rd: number;
  readonly bps_wr: number;
  readonly iops: number;
  readonly iops_rd: number;
  readonly iops_wr: number;
  readonly bps_max?: number;
  readonly bps_rd_max?: number;
  readonly bps_wr_max?: number;
  readonly iops_max?: number;
  readonly iops_rd_max?: number;
  readonly iops_wr_max?: number;
  readonly bps_max_length?: number;
  readonly bps_rd_max_length?: number;
  readonly bps_wr_max_length?: number;
  readonly iops_max_length?: number;
  readonly iops_rd_max_length?: number;
  readonly iops_wr_max_length?: number;
  readonly iops_size?: number;
  readonly group?: string;
}

/** Of query-blockstats. */
export interface DriveStats {
  readonly device?: string;
  readonly qdev?: string;
  readonly 'node-name'?: string;
  readonly stats: {
    readonly [
      counter in
        | `${'rd' | 'wr' | 'unmap'}_bytes`
        | `${'rd' | 'wr' | 'unmap'}_merged`
        | `${'' | 'failed_' | 'invalid_'}${'rd' | 'wr' | 'flush' | 'unmap'}_operations`
        | `${'rd' | 'wr' | 'flush' | 'unmap'}_total_time_ns`
        | 'wr_highest_offset'
    ]: number;
  } & {
    readonly idle_time_ns?: number;
    readonly account_invalid: boolean;
    readonly account_failed: boolean;
  };
}

export interface BlockControl {
  /** tlsCreds: the id of a tls-creds object. */
  nbdServerStart(address: NbdAddress, tlsCreds?: string): Promise<void>;
  /** name: of the export; the device's if absent. */
  nbdServerAdd(options: { device: string; name?: string; writable: boolean }): Promise<void>;
  nbdServerStop(): Promise<void>;
  /** Where it listens, with the port that the host chose if 0 was asked, and what it exports. */
  nbdServer(): NbdServerInfo | undefined;
  /** All backends, for `nbd_server_start -a`. */
  readonly devices: readonly string[];
  /** `-drive` syntax; only if=none. nodeOnly: a node without a backend (drive_add -n). */
  driveAdd(options: string, how: { nodeOnly: boolean }): Promise<void>;
  driveDel(id: string): Promise<void>;
  /** Nested options as QMP sends them. */
  blockdevAdd(options: Readonly<Record<string, unknown>>): Promise<void>;
  stats(): readonly DriveStats[];
  /** A device or a node. */
  resize(name: string, bytes: number): Promise<void>;
  setThrottle(id: string, limits: IoThrottle): void | Promise<void>;
  /** Exactly one of child and node. */
  changeChildren(change: { parent: string; child?: string; node?: string }): Promise<void>;
  info(): readonly BlockInfo[];
  nodes(): readonly BlockInfo[];
}

/** As QMP spells them. */
export interface JobCommon {
  readonly device: string;
  readonly 'job-id'?: string;
  readonly speed?: number;
  readonly 'auto-finalize'?: boolean;
  readonly 'auto-dismiss'?: boolean;
}

export interface CopyJob extends JobCommon {
  readonly sync: 'full' | 'top' | 'none' | 'incremental' | 'bitmap';
  readonly bitmap?: string;
  readonly 'bitmap-mode'?: 'on-success' | 'never' | 'always';
  readonly compress?: boolean;
  readonly granularity?: number;
  readonly 'on-source-error'?: ErrorPolicy;
  readonly 'on-target-error'?: ErrorPolicy;
  /** A node, or what to open. */
  readonly target:
    | string
    | {
        readonly target: string;
        readonly format?: string;
        readonly nodeName?: string;
        readonly mode: 'existing' | 'absolute-paths';
      };
}

export interface ChainJob extends JobCommon {
  readonly base?: string;
  readonly 'base-node'?: string;
  readonly 'backing-file'?: string;
  readonly 'on-error'?: ErrorPolicy;
}

export interface JobControl {
  mirror(job: CopyJob): Promise<void>;
  backup(job: CopyJob): Promise<void>;
  commit(job: ChainJob & { readonly top?: string; readonly 'top-node'?: string }): Promise<void>;
  stream(job: ChainJob): Promise<void>;
  list(): readonly JobInfo[];
  setSpeed(id: string, bytesPerSecond: number): void;
  cancel(id: string, force: boolean): void;
  pause(id: string): void;
  resume(id: string): void;
  complete(id: string): void;
  finalize(id: string): void;
  dismiss(id: string): void;
  readonly bitmaps: {
    add(node: string, name: string, how: { granularity?: number; disabled: boolean }): void;
    remove(node: string, name: string): void;
    clear(node: string, name: string): void;
    enable(node: string, name: string): void;
    disable(node: string, name: string): void;
  };
}

export interface NetworkControl {
  /** Of every netdev. */
  readonly ids: readonly string[];
  /** The lines of `info network`. */
  info(): readonly string[];
  /** DeviceNotFound if there is no such netdev. */
  setLink(id: string, up: boolean): void;
  add(spec: NetdevSpec): Promise<void>;
  /** VmError that names the user while it has one. */
  del(id: string): void;
  /** In rounds; ids: only these. Neither given: as after a failover. */
  announce(schedule?: AnnounceSchedule, ids?: readonly string[]): void;
}

/** What a guest shows while it stands still. */
export interface StoppedGuest {
  registers(cpu: number): string;
  /** Of CPU 0, 64 bits; undefined: no such register. */
  register(name: string): bigint | undefined;
  /** As CPU 0 sees it; undefined: not mapped, or not RAM. */
  virtualMemory(address: bigint, length: number): Buffer | undefined;
  /** Of CPU 0, ascending. undefined: paging is off. cut: there are more. */
  mappedPages(): { readonly pages: readonly MappedPage[]; readonly cut: boolean } | undefined;
}

export interface InspectControl {
  /** threadId: of the host; undefined until the vCPU has one. */
  cpus(): readonly { readonly index: number; readonly threadId: number | undefined }[];
  /** Stops the guest for as long as fn looks, if it runs. VmError if it does not stop. */
  look<T>(fn: (guest: StoppedGuest) => T): Promise<T>;
  /** As it is now; undefined: not RAM. */
  physicalMemory(address: bigint, length: number): Buffer | undefined;
  devices(): readonly {
    readonly id: string;
    readonly model: string;
    readonly where: string;
    readonly properties: readonly (readonly [string, string])[];
  }[];
  pci(): readonly PciInfo[];
}

export interface PciInfo {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly id: string;
  readonly description: string;
  readonly vendor: number;
  readonly device: number;
  readonly irqPin: number;
  readonly irq: number;
  readonly bars: readonly {
    readonly index: number;
    readonly type: 'memory' | 'io';
    readonly address: number | undefined;
    readonly size: number;
  }[];
}
