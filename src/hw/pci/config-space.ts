/**
 * One function's configuration space (PCI Local Bus 3.0, chapter 6): what it is made of is declared
 * once: identity bytes and which bits the guest may write. Live bytes are the device's state; after
 * a load the read-only bits are ours again, whatever the stream said.
 */
import { assert } from '../../base/errors.js';
import { bytes, type Field } from '../../fields/field.js';

export const CONFIG_SIZE = 256;
export const Cfg = {
  VENDOR: 0x00,
  DEVICE: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  CLASS: 0x09,
  HEADER: 0x0e,
  BAR0: 0x10,
  ROM: 0x30,
  SUBSYSTEM: 0x2c,
  CAPABILITIES: 0x34,
  INT_LINE: 0x3c,
  INT_PIN: 0x3d,
} as const;
export const PciCommand = {
  IO: 0x0001,
  MEMORY: 0x0002,
  MASTER: 0x0004,
  INTX_DISABLE: 0x0400,
} as const;
/** No two of them share a bit. */
const WRITABLE_COMMAND = Object.values(PciCommand).reduce((sum, bit) => sum + bit, 0);
export const PciStatus = { INTX: 0x0008, CAPABILITIES: 0x0010 } as const;
const CAPABILITY_ID = { MSIX: 0x11, VENDOR: 0x09 } as const;
export { CAPABILITY_ID };
const PREFETCHABLE = 0x08;
const IO_SPACE = 0x01;
/** Header type: the slot has more functions than this one. */
export const MULTIFUNCTION = 0x80;
/** In the ROM's base address: it is decoded. */
export const ROM_ENABLE = 0x01;

export interface Identity {
  vendor: number;
  device: number;
  revision: number;
  /** Base class, subclass, interface: 0x020000 = Ethernet. */
  classCode: number;
  subsystemVendor: number;
  subsystem: number;
  /** 0 none, 1 = INTA. */
  interruptPin: number;
}

/** The state field of every function. */
export const configField: Field<Buffer> = bytes(CONFIG_SIZE);

export class ConfigLayout {
  readonly identity = Buffer.alloc(CONFIG_SIZE);
  readonly writable = Buffer.alloc(CONFIG_SIZE);
  private lastLink: number = Cfg.CAPABILITIES;
  private nextCapability = 0x40;

  constructor(id: Identity) {
    const b = this.identity;
    b.writeUInt16LE(id.vendor, Cfg.VENDOR);
    b.writeUInt16LE(id.device, Cfg.DEVICE);
    b[Cfg.REVISION] = id.revision;
    b.writeUIntLE(id.classCode, Cfg.CLASS, 3);
    b.writeUInt16LE(id.subsystemVendor, Cfg.SUBSYSTEM);
    b.writeUInt16LE(id.subsystem, Cfg.SUBSYSTEM + 2);
    b[Cfg.INT_PIN] = id.interruptPin;
    this.writable.writeUInt16LE(WRITABLE_COMMAND, Cfg.COMMAND);
    this.writable[Cfg.INT_LINE] = 0xff;
    this.writable[0x0c] = 0xff; // cache line size
    this.writable[0x0d] = 0xff; // latency timer
  }

  /** A register of the chip's own: its power-on value, and the bits that the guest may write. */
  register(offset: number, value: number, writable: number): void {
    this.identity[offset] = value;
    this.writable[offset] = writable;
  }

  /** A 32-bit memory BAR: size is a power of two, at least 16. */
  memoryBar(index: number, size: number, { prefetchable = false } = {}): void {
    assert(size >= 16 && (size & (size - 1)) === 0, 'a BAR is a power of two');
    this.writable.writeUInt32LE(-size >>> 0, Cfg.BAR0 + 4 * index);
    if (prefetchable) this.identity[Cfg.BAR0 + 4 * index] = PREFETCHABLE;
  }

  /** A BAR of I/O ports: size is a power of two, at least 4. */
  ioBar(index: number, size: number): void {
    assert(size >= 4 && (size & (size - 1)) === 0, 'a BAR is a power of two');
    this.writable.writeUInt32LE(-size >>> 0, Cfg.BAR0 + 4 * index);
    this.identity[Cfg.BAR0 + 4 * index] = IO_SPACE;
  }

  /** size: a power of two, at least 2048. */
  romBar(size: number): void {
    assert(size >= 2048 && (size & (size - 1)) === 0, 'a ROM is a power of two');
    this.writable.writeUInt32LE((-size >>> 0) + ROM_ENABLE, Cfg.ROM);
  }

  /** body: what follows id and link. mask: its writable bits. Returns the capability's offset. */
  capability(id: number, body: Uint8Array, mask?: Uint8Array): number {
    const at = this.nextCapability;
    assert(at + 2 + body.length <= CONFIG_SIZE, 'capabilities fit');
    this.identity[this.lastLink] = at;
    this.identity[at] = id;
    this.identity.set(body, at + 2);
    if (mask) this.writable.set(mask, at + 2);
    this.lastLink = at + 1;
    this.nextCapability = (at + 2 + body.length + 3) & ~3;
    this.identity.writeUInt16LE(PciStatus.CAPABILITIES, Cfg.STATUS);
    return at;
  }

  /** Read-only bits from here, the others as they are. */
  restore(config: Buffer): void {
    for (let i = 0; i < CONFIG_SIZE; i++)
      config[i] = (this.identity[i] & ~this.writable[i]) | (config[i] & this.writable[i]);
  }

  /** A guest write: only writable bits change. */
  write(config: Buffer, offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) {
      const at = offset + i;
      const mask = this.writable[at];
      config[at] = (config[at] & ~mask) | ((value >>> (8 * i)) & mask);
    }
  }
}
