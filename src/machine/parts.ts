/**
 * What the machine is made of and does not make itself: each is opened by the layer that owns it,
 * from the spec's words.
 */
import type { VmAccel } from '../accel/contract.js';
import type { Events } from '../base/events.js';
import type { BlockBackend, DiskProperties } from '../block/contract/backend.js';
import type { CharBackend } from '../chardev/contract.js';
import type { Clock, Entropy, Files } from '../host/ports.js';
import type { Netdev } from '../net/contract.js';
import type { QmpEvents } from '../qapi/types.js';
import type { CheckedSpec } from './check-spec.js';
import type { MachineSpec } from './spec.js';

/** Nodes and drives of the spec, opened in order. */
export interface DriveProvider {
  /** A guest device takes a drive, or a node. */
  claim(name: string, device: string, properties?: DiskProperties): BlockBackend;
  /** Ids and lengths, for the manifest. */
  list(): { id: string; length: number; readOnly?: boolean }[];
  /** Settles when every image is closed. */
  close(): Promise<void>;
}

/** Netdevs and filters of the spec. */
export interface NetProvider {
  claim(id: string, device: string): Netdev;
  list(): string[];
  /**
   * The guest lives here now: tells the world, and has the guest tell it, more than once, for a
   * switch may miss one.
   */
  announce(): void;
  close(): void;
}

/** Chardevs of the spec. */
export interface ChardevProvider {
  /** One user at a time; user: as a refusal names it. */
  claim(id: string, user: string): { readonly value: CharBackend };
  close(): void;
}

export interface MachineParts {
  readonly clock: Clock;
  readonly files: Pick<Files, 'readFile'>;
  readonly entropy: Entropy;
  /** For people: the terminal of the process. */
  report(line: string): void;
  /** With the processors of the spec. */
  createAccel(options: { ramBytes: number }): VmAccel;
  openDrives(spec: CheckedSpec, events: Events<QmpEvents>): Promise<DriveProvider>;
  openNet(spec: MachineSpec): Promise<NetProvider>;
  openChardevs(spec: MachineSpec): Promise<ChardevProvider>;
}
