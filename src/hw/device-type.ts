/**
 * A -device is declared once, beside its chip: from its properties derive what -device and -global
 * take, the checks, help, completion and the manual; from `uses` what must be there before it.
 */
import type { BlockBackend, DiskProperties } from '../block/contract/backend.js';
import type { GuestMemory, VideoMemory } from '../accel/contract.js';
import type { CharBackend } from '../chardev/contract.js';
import type { IoPorts } from '../memory/io-ports.js';
import type { MmioSpace } from '../memory/mmio-space.js';
import type { Netdev } from '../net/contract.js';
import { type ArgsOf, type Fields, int, optional } from '../words/types.js';
import type { Device, IrqLine } from './device.js';
import type { DisplaySource } from './display/surface.js';
import type { IdeDrive, IdePort } from './ide/drive.js';
import type { PciFunction } from './pci/function.js';
import type { UsbHid } from './usb/hid.js';
import type { VirtioModel } from './virtio/model.js';
import type { GuestClock } from './wiring.js';

/** What a device can be of outside. */
export type DeviceUse = 'drive' | 'netdev' | 'chardev';

/** What was opened for the devices of a board, by the layers that own it. */
export interface DeviceBackends {
  /** A drive, or a node. device: as a refusal names it. */
  drive(name: string, device: string, properties?: DiskProperties): BlockBackend;
  netdev(id: string, device: string): Netdev;
  chardev(id: string, device: string): CharBackend;
  /** The ROM of a device, if it has one. */
  rom(device: string): Buffer | undefined;
}

/** `bootindex=`, and Open Firmware's path of the device below its bus. slot: hexadecimal. */
export interface BootPlace {
  readonly index: number | undefined;
  readonly path: (slot: string) => string;
}

/** Where an IDE device shall be; what is left out is the first that is free. */
export interface IdePlace {
  readonly bus: number | undefined;
  readonly unit: number | undefined;
}

/** Where a USB device shall be; what is left out is the first that is free. port: from 1. */
export interface UsbPlace {
  readonly bus?: string;
  readonly port?: number;
}

/** The board as a device sees it that is put there. */
export interface DeviceSlots extends DeviceBackends {
  readonly ports: IoPorts;
  readonly mmio: MmioSpace;
  readonly clock: GuestClock;
  readonly ram: GuestMemory;
  /** A driver of the line with this number. */
  irq(gsi: number): IrqLine;
  /** Of the machine's graphics card. */
  readonly video: VideoMemory | undefined;
  /** place: for `info qtree`. */
  add<D extends Device>(device: D, place: string): D;
  /** In the next free slot. VmError: another device has that bootindex. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  addPci(fn: PciFunction<any>, boot?: BootPlace): void;
  /** What the machine's screen shows. */
  display(source: DisplaySource): void;
  /** VmError: another device has that bootindex. */
  addVirtio<S>(id: string, model: VirtioModel<S>, boot: BootPlace): void;
  /** On a channel of the board's IDE controller. VmError: the place is taken. */
  addIde(
    id: string,
    place: IdePlace,
    make: (port: IdePort) => IdeDrive,
    boot: Pick<BootPlace, 'index'>,
  ): void;
  /** Function 2 of the PIIX3. VmError: there is one. */
  addUsbController(id: string): void;
  /** VmError: there is no controller, or no room on it. */
  addUsb(device: UsbHid, place: UsbPlace): void;
  /** Of a card without an address of its own; in order, so that both sides of a pair agree. */
  nextMac(): Uint8Array;
  /** Ends the machine. */
  exit(status: number): void;
}

export interface DeviceType {
  readonly name: string;
  readonly summary: string;
  readonly properties: Fields;
  /** The properties that name something that must be there. */
  readonly uses: Readonly<Partial<Record<DeviceUse, string>>>;
  /** Of the properties, for one that can be put on a board; the manual shows it. */
  readonly example: string;
  /** properties: checked. VmError: there is no room for it. */
  plug(id: string, properties: Readonly<Record<string, unknown>>, slots: DeviceSlots): void;
}

/** The property of a device that firmware may boot from. */
export const bootIndex = optional(
  int('place in the order of what firmware boots from, from 0', { min: 0, max: 0x7fffffff }),
);

interface Declaration<F extends Fields> {
  name: string;
  summary: string;
  properties: F;
  uses?: Partial<Record<DeviceUse, keyof F & string>>;
  example: string;
  plug: (id: string, properties: ArgsOf<F>, slots: DeviceSlots) => void;
}

export function deviceType<F extends Fields>(d: Declaration<F>): DeviceType {
  return {
    ...d,
    uses: d.uses ?? {},
    plug: (id, properties, slots) => d.plug(id, properties as ArgsOf<F>, slots),
  };
}
