/** What colo asks of the machine. Disks are block's Replicated, network output is net's OutputHold; disks and controller never meet. */
import type { Ram } from '../accel/contract.js';

/** What must be equal on both sides; compared before anything else is sent, and a difference is named in a sentence. */
export interface Manifest {
  ramBytes: number;
  cpus: number;
  accel: string;
  /** Every state section: id, name of its vmstate, version; in order. */
  devices: { id: string; vmstate: string; version: number }[];
  disks: { id: string; length: number }[];
  netdevs: string[];
}

/** Device state that has passed every check; applying it cannot fail. */
export interface StagedDevices {
  apply(): void;
}

export interface Lifecycle {
  readonly ram: Ram;
  manifest(): Manifest;
  /** Stops vCPUs, then devices (rule 2): afterwards nothing writes guest RAM. Bounded; a VmError says who did not stop. Run state `colo`. */
  stopForCheckpoint(): Promise<void>;
  /** Run again after a checkpoint (or an aborted one). A `stop` that a user gave meanwhile is honoured. */
  resumeAfterCheckpoint(): void;
  /** All device, vCPU and chip state, stopped. */
  saveDevices(): Buffer;
  /** Untrusted bytes: VmError that names device and field, or staged state. Touches nothing. */
  parseDevices(blob: Uint8Array): StagedDevices;
  /** The secondary takes over: guest time goes on from the loaded state, the network is told, the guest runs; `-S` is ignored with a message. */
  runAfterFailover(): void;
  /** The guest asked to power off, or the user: the primary's loop sends one last checkpoint and guest-shutdown. */
  readonly shutdownRequested: boolean;
}
