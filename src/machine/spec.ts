/**
 * The machine as plain data: what the options said, parsed once at the edge. The builder consumes
 * it; no component reads flags, files or the environment by itself.
 */
import type { SmbiosWords } from '../hw/firmware/smbios.js';
import type { ArbiterSeat } from '../arbiter/address.js';
import type { AccelWish } from '../accel/choose.js';
import type { Topology } from '../accel/contract.js';
import type { CpuChoice } from '../accel/cpu-model.js';
import type { DriveInterface } from '../block/options/options.js';
import type { NestedWords } from '../words/nested.js';
import type { CharSpec } from '../chardev/contract.js';
import type { Address, Forward, UserNetConfig } from '../host/ports.js';
import type { VncSpec } from '../vnc/server.js';

/** What `pc` stands for. */
export const MACHINE_TYPE = 'pc-i440fx-7.2';

export interface DriveOption {
  /** `-drive id=`; the name that the monitor and nbd-server-add use. */
  id: string;
  /**
   * virtio: a virtio-blk-pci device comes with it. ide: an IDE disk, at the place of its `index`.
   * none: a backend for a -device or for the monitor.
   */
  interface: DriveInterface;
  /** Everything but id and if. */
  options: NestedWords;
}

/**
 * `-blockdev`: a node of the block graph. A guest device, a -drive or a later -blockdev names it.
 */
export interface BlockdevSpec {
  nodeName: string;
  /**
   * As QMP's blockdev-add takes them, or with text for every value. The block layer checks them.
   */
  options: Readonly<Record<string, unknown>>;
}

export type NetdevSpec =
  | { type: 'tap'; id: string; ifname?: string; script?: string; downscript?: string }
  | { type: 'socket'; id: string; address: Address; server: boolean }
  | { type: 'user'; id: string; config: UserNetConfig; forwards: readonly Forward[] };

/** `-device`: the declaration of its type (hw/device-types.ts) has checked the properties. */
export interface DeviceSpec {
  model: string;
  id: string;
  properties: Readonly<Record<string, unknown>>;
}

/**
 * `-object filter-mirror,id=m0,netdev=hn0,...`: the declaration of its type has checked the
 * properties.
 */
export interface ObjectSpec {
  type: string;
  id: string;
  properties: Readonly<Record<string, unknown>>;
}

export interface ChardevSpec {
  id: string;
  backend: CharSpec;
}

export interface MonitorSpec {
  mode: 'qmp' | 'hmp';
  /** Id in chardevs. */
  chardev: string;
}

/** What firmware is told of `-boot`. */
export interface BootSpec {
  /** c: disks, d: CD-ROM, n: network. */
  order: string;
  menu: boolean;
  /** How long a menu is offered. */
  splashMs?: number;
  /** Nothing is tried that has no bootindex, if anything has. */
  strict: boolean;
}

export interface MachineSpec {
  name: string;
  /**
   * A secondary follows a primary; a primary runs, or takes over a guest that migrates without
   * COLO.
   */
  role: 'primary' | 'secondary';
  /** The name that the guest reads, and that both sides of a migration must share. */
  machineType: string;
  uuid?: string;
  smbios?: SmbiosWords;
  ramBytes: number;
  cpus: number;
  /** How they are packaged; absent: cores of one socket. Multiplies up to cpus. */
  topology?: Topology;
  /** -cpu; absent: the plain model. */
  cpu?: CpuChoice;
  accel: AccelWish;
  /** -accel soft,lockstep=on: vCPUs take turns on one thread, and guest time is counted. */
  lockstep?: boolean;
  /**
   * Path of a bzImage, an ELF vmlinux or a Multiboot kernel. Without one, firmware boots a disk.
   */
  kernel?: string;
  /** The firmware's file; absent: SeaBIOS, where there is no kernel. */
  bios?: string;
  /** Where files of firmware are looked for first. */
  dataDirs?: readonly string[];
  boot?: BootSpec;
  initrd?: string;
  /** As the user gave it; nothing is added. */
  append: string;
  /** Opened in this order, before the drives. */
  blockdevs: BlockdevSpec[];
  drives: DriveOption[];
  netdevs: NetdevSpec[];
  devices: DeviceSpec[];
  objects: ObjectSpec[];
  chardevs: ChardevSpec[];
  /** Chardev ids of COM1, COM2, ...; at most 4. With none COM1 exists and is not connected. */
  serials: string[];
  monitors: MonitorSpec[];
  /**
   * `tcp:0:8888`: wait for a migration without running. `file:PATH`, `exec:COMMAND`: go on from a
   * state. `defer`: the monitor tells.
   */
  incoming?: string;
  /** Who decides when the peer is lost; without one a person does. */
  arbiter?: ArbiterSeat;
  /** Where viewers see its screen. */
  vnc?: VncSpec;
  /** -S */
  startPaused: boolean;
  /** -no-shutdown: a guest's power-off leaves the machine there, stopped. */
  noShutdown: boolean;
  /** -no-reboot: a guest's reset ends the machine. */
  noReboot: boolean;
}
