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
  /** Ids and lengths. */
  manifest(): { id: string; length: number; readOnly?: boolean }[];
  /** Settles when every image is closed. */
  close(): Promise<void>;
}

/** Netdevs and filters of the spec. */
export interface NetProvider {
  claim(id: string, device: string): Netdev;
  list(): string[];
  /**
   * Announces that the guest runs on this host, and has the guest do so too. It is repeated,
   * because a switch may miss one packet.
   */
  announce(): void;
  close(): void;
}

/** Chardevs of the spec. */
export interface ChardevProvider {
  /** One user at a time; user: as a refusal names it. */
  claim(id: string, user: string): { readonly value: CharBackend };
  close(): void | Promise<void>;
}

/** Each provider has the type of the layer that owns it, so that the builder gets that back. */
export interface MachinePorts<
  D extends DriveProvider = DriveProvider,
  N extends NetProvider = NetProvider,
  C extends ChardevProvider = ChardevProvider,
> {
  readonly clock: Clock;
  readonly files: Pick<Files, 'readFile'>;
  readonly entropy: Entropy;
  /** A disk or a vCPU that does not stop within this time has the checkpoint fail, not the VM. */
  readonly stopLimitMs?: number;
  /** For people: the terminal of the process. */
  report(line: string): void;
  /** With the processors of the spec. */
  createAccel(options: { ramBytes: number; romBytes: number; videoBytes: number }): VmAccel;
  openDrives(spec: CheckedSpec, events: Events<QmpEvents>): Promise<D>;
  openNet(spec: MachineSpec): Promise<N>;
  openChardevs(spec: MachineSpec): Promise<C>;
}
