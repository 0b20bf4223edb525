/**
 * The bus master of one channel (Intel 82371SB data sheet, section 2.5; "Programming Interface for
 * Bus Master IDE Controller", revision 1.0): a table of physical regions in guest memory that a
 * transfer goes through.
 */
import type { GuestMemory } from '../../accel/contract.js';
import { and32, lowBytes, without32 } from '../../base/unsigned.js';
import { bool8, type Of, record, u32, u8 } from '../../fields/field.js';

const Command = { START: 0x01, TO_MEMORY: 0x08 } as const;
const DmaStatus = { ACTIVE: 0x01, ERROR: 0x02, INTERRUPT: 0x04, KEPT: 0x60 } as const;
const REGION_MAX = 0x10000;
/** A table lies within 64 KiB. */
const TABLE_ENTRIES = 0x10000 / 8;
const LAST = 0x8000_0000;

export const dmaTableState = record({
  command: u8.mask(Command.START | Command.TO_MEMORY),
  status: u8.mask(DmaStatus.ACTIVE | DmaStatus.ERROR | DmaStatus.INTERRUPT | DmaStatus.KEPT),
  table: u32,
  /** Entries taken since the start. */
  taken: u32.range(0, TABLE_ENTRIES),
  /** What is left of the region. */
  address: u32,
  left: u32.range(0, REGION_MAX),
  last: bool8,
});

/** How far a piece of a transfer came. short: the table was over. fault: no memory is there. */
export interface DmaMove {
  readonly bytes: number;
  readonly regions: number;
  readonly end: 'open' | 'short' | 'fault';
}

/** As a device sees it. */
export interface DmaPort {
  readonly active: boolean;
  toGuest(from: Buffer): DmaMove;
  fromGuest(to: Buffer): DmaMove;
  /** The device has ended its command. */
  stop(): void;
  fail(): void;
}

/** Regions of one piece: the rest follows in another turn of the main loop. */
const PIECE_REGIONS = 1024;

export class DmaTable implements DmaPort {
  constructor(
    private readonly ram: GuestMemory,
    private readonly state: () => Of<typeof dmaTableState>,
    /** The guest has started it. */
    private readonly started: () => void,
  ) {}

  get active(): boolean {
    return (this.state().status & DmaStatus.ACTIVE) !== 0;
  }

  toGuest(from: Buffer): DmaMove {
    return this.move(from.length, (gpa, at, length) =>
      this.ram.write(gpa, from.subarray(at, at + length)),
    );
  }

  fromGuest(to: Buffer): DmaMove {
    return this.move(to.length, (gpa, at, length) => {
      const bytes = this.ram.read(gpa, length);
      if (bytes) to.set(bytes, at);
      return bytes !== undefined;
    });
  }

  stop(): void {
    this.state().status &= ~DmaStatus.ACTIVE;
  }

  fail(): void {
    this.stop();
    this.state().status |= DmaStatus.ERROR;
  }

  interrupted(): void {
    this.state().status |= DmaStatus.INTERRUPT;
  }

  read(offset: number): number {
    const s = this.state();
    if (offset >= 4) return (s.table >>> (8 * (offset - 4))) & 0xff;
    return offset === 0 ? s.command : offset === 2 ? s.status : 0;
  }

  write(offset: number, value: number): void {
    const s = this.state();
    if (offset === 0) {
      this.writeCommand(value);
    } else if (offset === 2) {
      const cleared = value & (DmaStatus.ERROR | DmaStatus.INTERRUPT);
      s.status = (s.status & ~DmaStatus.KEPT & ~cleared) | (value & DmaStatus.KEPT);
    } else if (offset >= 4) {
      const shift = 8 * (offset - 4);
      const rest = without32(s.table, lowBytes(0xff << shift, 4));
      s.table = and32(rest + lowBytes(value << shift, 4), 0xffff_fffc);
    }
  }

  private writeCommand(value: number): void {
    const s = this.state();
    const { command } = s;
    s.command = value & (Command.START | Command.TO_MEMORY);
    if ((value & Command.START) === 0) {
      this.stop();
    } else if ((command & Command.START) === 0) {
      s.status |= DmaStatus.ACTIVE;
      s.taken = s.left = 0;
      s.last = false;
      this.started();
    }
  }

  /** A copy for each region: the guest may change its memory at any time. */
  private move(
    length: number,
    copy: (gpa: number, at: number, length: number) => boolean,
  ): DmaMove {
    const s = this.state();
    let bytes = 0;
    let regions = 0;
    while (bytes < length && regions < PIECE_REGIONS) {
      if (s.left === 0) {
        if (s.last || s.taken === TABLE_ENTRIES) return { bytes, regions, end: 'short' };
        if (!this.next()) return { bytes, regions, end: 'fault' };
      }
      regions++;
      const n = Math.min(s.left, length - bytes);
      if (!copy(s.address, bytes, n)) return { bytes, regions, end: 'fault' };
      s.address = (s.address + n) % 2 ** 32;
      s.left -= n;
      bytes += n;
    }
    return { bytes, regions, end: 'open' };
  }

  private next(): boolean {
    const s = this.state();
    const at = s.table + 8 * s.taken;
    const address = this.ram.readU32(at);
    const word = this.ram.readU32(at + 4);
    if (address === undefined || word === undefined) return false;
    s.taken++;
    s.address = without32(address, 1);
    s.left = word & 0xfffe || REGION_MAX;
    s.last = and32(word, LAST) !== 0;
    return true;
  }
}
