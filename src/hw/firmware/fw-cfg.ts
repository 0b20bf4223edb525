/**
 * QEMU's firmware configuration device (QEMU documentation, "QEMU Firmware Configuration (fw_cfg)
 * Device"): numbered items and named files that firmware reads, byte by byte at 0x511 after it has
 * selected one at 0x510, or by DMA at 0x514. Nothing can be written to an item.
 */
import { assert } from '../../base/errors.js';
import { allOnes, lowBytes } from '../../base/unsigned.js';
import type { GuestMemory } from '../../accel/contract.js';
import { u16, u32 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { PioHandler } from '../../memory/contract.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts } from '../contain.js';
import { Device, type StateOf } from '../device.js';

export const FwCfgKey = {
  SIGNATURE: 0x00,
  ID: 0x01,
  UUID: 0x02,
  RAM_SIZE: 0x03,
  NOGRAPHIC: 0x04,
  NB_CPUS: 0x05,
  KERNEL_ADDR: 0x07,
  KERNEL_SIZE: 0x08,
  INITRD_ADDR: 0x0a,
  INITRD_SIZE: 0x0b,
  NUMA: 0x0d,
  BOOT_MENU: 0x0e,
  MAX_CPUS: 0x0f,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_ADDR: 0x13,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  SETUP_ADDR: 0x16,
  SETUP_SIZE: 0x17,
  SETUP_DATA: 0x18,
  FILE_DIR: 0x19,
  FILE_FIRST: 0x20,
  IRQ0_OVERRIDE: 0x8002,
} as const;
const BASE = 0x510;
const DMA_BASE = 0x514;
/** The two low address halves are big endian; a write of the second starts the transfer. */
const DMA_SIGNATURE = Buffer.from('QEMU CFG', 'latin1');
const FEATURES = 0x03; // the traditional interface, and DMA
const Dma = { ERROR: 0x01, READ: 0x02, SKIP: 0x04, SELECT: 0x08, WRITE: 0x10 } as const;
const DMA_HEADER = 16;
const MAX_FILES = 0x100;
const NAME_LENGTH = 56;
/** Of one transfer: zeroes behind the end of an item must not keep the main loop busy. */
const MAX_TRANSFER = 16 << 20;

export const fwCfgState = vmstate('fw_cfg', 1, {
  selected: u16,
  offset: u32,
  /** High half of the DMA address, which comes first. */
  dmaHigh: u32,
});

export class FwCfg extends Device<StateOf<typeof fwCfgState>> {
  readonly vmstate = fwCfgState;
  state = fwCfgState.reset();
  /** Of this host; not part of a checkpoint, for firmware has read them when it is taken. */
  private readonly items = new Map<number, Buffer>();
  private readonly files = new Map<string, Buffer>();

  constructor(
    id: string,
    private readonly ram: GuestMemory,
  ) {
    super(id);
    this.item(FwCfgKey.SIGNATURE, Buffer.from('QEMU', 'latin1'));
    this.item(FwCfgKey.ID, le32(FEATURES));
    this.list();
  }

  attach(io: IoPorts): void {
    const dma: PioHandler = {
      pioRead: (offset, size) => readLittle(DMA_SIGNATURE, offset, size),
      pioWrite: (offset, size, value) => this.writeDma(offset, size, value),
    };
    io.map(this.id, BASE, 2, new ContainedPorts(this, this), 2);
    io.map(this.id, DMA_BASE, 8, new ContainedPorts(this, dma), 4);
  }

  item(key: number, bytes: Buffer): void {
    this.items.set(key, bytes);
  }

  /** Another of the same name takes its place. */
  file(name: string, bytes: Buffer): void {
    assert(name.length < NAME_LENGTH, `fw_cfg: the name of ${name} fits`);
    this.files.set(name, bytes);
    assert(this.files.size <= MAX_FILES, 'fw_cfg: at most 256 files');
    this.list();
  }

  pioRead(offset: number, size: number): number {
    if (offset !== 1 || size !== 1) return allOnes(size);
    const { state: s } = this;
    const value = this.items.get(s.selected)?.[s.offset] ?? 0;
    s.offset = Math.min(s.offset + 1, 0xffff_ffff);
    return value;
  }

  pioWrite(offset: number, size: number, value: number): void {
    if (offset === 0 && size === 2) this.select(value);
  }

  private select(key: number): void {
    this.state.selected = key;
    this.state.offset = 0;
  }

  /** The directory, and the numbers of the files: by name, as QEMU has them. */
  private list(): void {
    const names = [...this.files.keys()].sort((a, b) => (a < b ? -1 : 1));
    const directory = Buffer.alloc(4 + 64 * names.length);
    directory.writeUInt32BE(names.length, 0);
    names.forEach((name, i) => {
      const bytes = this.files.get(name) ?? Buffer.alloc(0);
      const at = 4 + 64 * i;
      directory.writeUInt32BE(bytes.length, at);
      directory.writeUInt16BE(FwCfgKey.FILE_FIRST + i, at + 4);
      directory.write(name, at + 8, 'latin1');
      this.item(FwCfgKey.FILE_FIRST + i, bytes);
    });
    this.item(FwCfgKey.FILE_DIR, directory);
  }

  private writeDma(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    const swapped = swap32(value);
    if (offset === 0) {
      this.state.dmaHigh = swapped;
    } else if (offset === 4) {
      const at = this.state.dmaHigh * 2 ** 32 + swapped;
      this.state.dmaHigh = 0;
      this.transfer(at);
    }
  }

  /** Control, length and address of a transfer, big endian, lie at gpa; the result goes there. */
  private transfer(gpa: number): void {
    const header = this.ram.read(gpa, DMA_HEADER);
    if (!header) return;
    const control = header.readUInt32BE(0);
    if ((control & Dma.SELECT) !== 0) this.select(control >>> 16);
    const done = this.move(control, header.readUInt32BE(4), Number(header.readBigUInt64BE(8)));
    const result = Buffer.alloc(4);
    result.writeUInt32BE(done ? 0 : Dma.ERROR);
    this.ram.write(gpa, result);
  }

  private move(control: number, length: number, to: number): boolean {
    const { state: s } = this;
    if ((control & Dma.READ) !== 0) {
      const rest = (this.items.get(s.selected) ?? Buffer.alloc(0)).subarray(s.offset);
      if (length > Math.max(MAX_TRANSFER, rest.length)) return false;
      if (!this.ram.contains(to, length)) return false;
      const part = rest.subarray(0, length);
      this.ram.write(to, part);
      this.ram.write(to + part.length, Buffer.alloc(length - part.length));
    } else if ((control & Dma.WRITE) !== 0) {
      return false;
    } else if ((control & Dma.SKIP) === 0) {
      return true;
    }
    s.offset = Math.min(s.offset + length, 0xffff_ffff);
    return true;
  }
}

export function le16(value: number): Buffer {
  const b = Buffer.alloc(2);
  b.writeUInt16LE(value);
  return b;
}

export function le32(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(value);
  return b;
}

export function le64(value: number): Buffer {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(value));
  return b;
}

function swap32(value: number): number {
  const b = le32(value >>> 0);
  return b.readUInt32BE();
}

function readLittle(from: Buffer, offset: number, size: number): number {
  return lowBytes(from.readUIntLE(offset, Math.min(size, from.length - offset)), size);
}
