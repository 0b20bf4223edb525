/** What an IDE device keeps, whichever kind it is. */
import { blob, bool8, bytes, enum8, type Field, u32, u53, u8 } from '../../fields/field.js';
import { VmError } from '../../base/errors.js';

/** The command block, by offset; the second half reads what was written before (48-bit). */
export const Reg = {
  DATA: 0,
  ERROR: 1,
  COUNT: 2,
  LOW: 3,
  MID: 4,
  HIGH: 5,
  DEVICE: 6,
  STATUS: 7,
  PREVIOUS: 8,
  /** The status, without taking note of the interrupt. */
  ALTERNATE: 15,
} as const;
export const AtaStatus = {
  ERROR: 0x01,
  DRQ: 0x08,
  SEEK_DONE: 0x10,
  READY: 0x40,
  BUSY: 0x80,
} as const;
/** EXECUTE DEVICE DIAGNOSTIC: both devices of a channel take it. */
export const DIAGNOSE = 0x90;
export const IdeError = { ABORT: 0x04, NO_ID: 0x10, UNREADABLE: 0x40 } as const;
export const DeviceBits = { UNIT: 0x10, LBA: 0x40, ALWAYS: 0xa0 } as const;

/** What one request to the disk is at most, and what a checkpoint may have to carry. */
export const BUFFER_BYTES = 128 << 10;

/**
 * idle; in: data for the guest; out: data from it; packet: a command of ATAPI from it; flush: the
 * medium is waited for.
 */
export const phases = ['idle', 'in', 'out', 'packet', 'flush'] as const;

export const driveFields = {
  /** Reg.ERROR to Reg.HIGH as the guest wrote them, or as the device answers. */
  registers: bytes(8),
  /** What each held before the last write. */
  previous: bytes(8),
  status: u8,
  error: u8,
  interrupt: bool8,
  phase: enum8(phases),
  dma: bool8,
  /** The next sector of the transfer, and how many are left. */
  lba: u53,
  left: u32,
  /** Sectors of one block of PIO. */
  block: u8,
  /** Each write is on the medium before it is answered. */
  fua: bool8,
  /** What SET FEATURES chose. */
  writeCache: bool8Initially(true),
  dmaMode: u8,
  /** Of the buffer: what was moved, and where the block ends that the guest moves now. */
  at: u32,
  blockEnd: u32,
  buffer: blob(BUFFER_BYTES),
};

function bool8Initially(value: boolean): Field<boolean> {
  return { ...bool8, reset: () => value };
}

export interface DriveState {
  registers: Buffer;
  previous: Buffer;
  status: number;
  error: number;
  interrupt: boolean;
  phase: (typeof phases)[number];
  dma: boolean;
  lba: number;
  left: number;
  block: number;
  fua: boolean;
  writeCache: boolean;
  dmaMode: number;
  at: number;
  blockEnd: number;
  buffer: Buffer;
}

/** Of the data register: the guest moves a block by PIO. */
export const movesBlock = ({ status, dma, at, blockEnd }: DriveState): boolean =>
  (status & AtaStatus.DRQ) !== 0 && !dma && at < blockEnd;

/** Nothing else may be saved: of a command that waits for nobody a guest would never hear again. */
export function checkDrive(state: DriveState): void {
  const { at, blockEnd, buffer, status, phase } = state;
  if (at > buffer.length || blockEnd > buffer.length || (blockEnd !== 0 && at > blockEnd))
    throw new VmError(`at ${at} of ${blockEnd} is outside of a buffer of ${buffer.length} bytes`);
  if ((status & AtaStatus.BUSY) !== 0 && phase === 'idle')
    throw new VmError(`status ${status}: busy without a command`);
  if ((status & AtaStatus.DRQ) !== 0 && (phase === 'idle' || !movesBlock(state)))
    throw new VmError(`status ${status}: a block is asked for, and none is there to be moved`);
}
