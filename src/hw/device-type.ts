/**
 * A -device is declared once, beside its chip: from its properties derive what -device and -global
 * take, the checks, help, completion and the manual; from `uses` what must be there before it.
 */
import type { BlockBackend, DiskProperties } from '../block/contract/backend.js';
import type { IoPorts } from '../memory/io-ports.js';
import type { Netdev } from '../net/contract.js';
import type { ArgsOf, Fields } from '../words/types.js';
import type { Device } from './device.js';
import type { VirtioModel } from './virtio/model.js';

/** What a device can be of outside. */
export type DeviceUse = 'drive' | 'netdev';

/** What was opened for the devices of a board, by the layers that own it. */
export interface DeviceBackends {
  /** A drive, or a node. device: as a refusal names it. */
  drive(name: string, device: string, properties?: DiskProperties): BlockBackend;
  netdev(id: string, device: string): Netdev;
}

/** The board as a device sees it that is put there. */
export interface DeviceSlots extends DeviceBackends {
  readonly ports: IoPorts;
  /** place: for `info qtree`. */
  add<D extends Device>(device: D, place: string): D;
  addVirtio<S>(id: string, model: VirtioModel<S>): void;
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
