/** What migration knows of a machine, and what it asks of it. */
import type { Ram } from '../accel/contract.js';

/** What must be equal on both sides; compared first, and a difference is named in a sentence. */
export interface Manifest {
  /** Its name; absent: of a sender that did not tell. */
  machineType?: string;
  ramBytes: number;
  /** Of firmware's ROM, where there is one. */
  romBytes?: number;
  /** Of the graphics card. */
  videoBytes?: number;
  cpus: number;
  /** What CPUID shows; the name of the model only says where it comes from. */
  cpu: {
    model: string;
    vendor: string;
    signature: number;
    features: string[];
    sockets: number;
    cores: number;
    threads: number;
  };
  /** Told, not compared: a checkpoint taken on one accelerator resumes on the other. */
  accel: string;
  /** Every state section: id, name of its vmstate, version; in order. */
  devices: { id: string; vmstate: string; version: number }[];
  /** The bytes of one that is read-only are not compared. */
  disks: { id: string; length: number; readOnly?: boolean }[];
  netdevs: string[];
  /** Where its pair is decided about, and what both sides are called there. */
  seat?: SeatedAt;
}

export interface SeatedAt {
  /** As this host calls it. */
  arbiter: string;
  /** Which one it is, whatever it is called; absent: not known now, or its name says it. */
  place?: string;
  node: string;
  peer: string;
}

/** Device state that has passed every check; applying it cannot fail. */
export interface StagedDevices {
  apply(): void;
}

export interface Migratable {
  readonly ram: Ram;
  manifest(): Manifest;
  /**
   * The guest stands still for as long as fn looks; it counts as running all the time. VmError if
   * it does not stop.
   */
  whileStopped<T>(fn: () => T): Promise<T>;
  /** All device, vCPU and chip state, stopped. */
  saveDevices(): Buffer;
  /** Untrusted bytes: VmError that names device and field, or staged state. Touches nothing. */
  parseDevices(blob: Uint8Array): StagedDevices;
  /** VmError: this guest cannot be migrated in the state that it is in. */
  checkMigratable(): void;
  /** Stops the guest for the end of a migration (`finish-migrate`). True: it ran. */
  stopForMigration(): Promise<boolean>;
  /** The migration failed: the guest runs on at the source. */
  migrationFailed(): void;
  /** Run state `postmigrate`. mayContinue: `cont` may take the guest up again here. */
  migrationDone(how: { mayContinue: boolean }): void;
  /** Incoming, everything is loaded: the guest runs if it ran before, and the network is told. */
  runAfterMigration(ran: boolean): void;
}
