/**
 * The window at 0xa0000 as a guest sees it (IBM VGA Technical Reference, "Video Memory Write/Read
 * Operations"). The four planes lie byte by byte beside each other in the card's memory, so that
 * byte n of plane p is at 4 n + p; chained by four the window is the memory itself.
 */
import { Graphics, Sequencer, type VgaState } from './vga-state.js';
import { Vbe, vbeEnabled } from './vbe.js';

export const WINDOW_BASE = 0xa0000;
export const WINDOW_BYTES = 0x20000;

/** Where the window begins in the 128 KiB, and how much of it there is, by GR6's memory map. */
const MAPS = [
  { base: 0, bytes: 0x20000 },
  { base: 0, bytes: 0x10000 },
  { base: 0x10000, bytes: 0x8000 },
  { base: 0x18000, bytes: 0x8000 },
] as const;

const CHAIN_4 = 0x08;
const EXTENDED_MEMORY_ODD_EVEN_OFF = 0x04;
const GRAPHICS_ODD_EVEN = 0x10;

/** The bytes of the card. */
export interface CardMemory {
  readonly bytes: Uint8Array;
  /** [offset, offset + length) was written. */
  markWritten(offset: number, length: number): void;
}

/** Offset in the window, or -1: the card does not answer there. */
function inWindow(s: VgaState, offset: number): number {
  const { base, bytes } = MAPS[(s.graphics[Graphics.MISC] >> 2) & 3];
  const at = offset - base;
  if (at < 0 || at >= bytes) return -1;
  return bytes === 0x10000 && vbeEnabled(s) ? at + s.vbe[Vbe.BANK] * 0x10000 : at;
}

const chained = (s: VgaState): boolean => (s.sequencer[Sequencer.MEMORY_MODE] & CHAIN_4) !== 0;

export function readWindow(s: VgaState, { bytes }: CardMemory, offset: number): number {
  const at = inWindow(s, offset);
  if (at < 0) return 0xff;
  if (chained(s)) return at < bytes.length ? bytes[at] : 0xff;
  const oddEven = (s.graphics[Graphics.MODE] & GRAPHICS_ODD_EVEN) !== 0;
  const select = s.graphics[Graphics.READ_MAP] & 3;
  const plane = oddEven ? (select & 2) | (at & 1) : select;
  const cell = (oddEven ? at & ~1 : at) * 4;
  if (cell + 3 >= bytes.length) return 0xff;
  for (let p = 0; p < 4; p++) s.latch[p] = bytes[cell + p];
  if ((s.graphics[Graphics.MODE] & 0x08) === 0) return bytes[cell + plane];
  return compared(s);
}

/** Read mode 1: a bit for each pixel that has the colour asked for. */
function compared(s: VgaState): number {
  const care = s.graphics[Graphics.COLOR_DONT_CARE];
  const color = s.graphics[Graphics.COLOR_COMPARE];
  let differs = 0;
  for (let p = 0; p < 4; p++)
    if ((care >> p) & 1) differs |= s.latch[p] ^ ((color >> p) & 1 ? 0xff : 0);
  return ~differs & 0xff;
}

export function writeWindow(s: VgaState, card: CardMemory, offset: number, value: number): void {
  const at = inWindow(s, offset);
  if (at < 0) return;
  const mask = s.sequencer[Sequencer.MAP_MASK] & 0xf;
  if (chained(s)) {
    if (((mask >> (at & 3)) & 1) === 0 || at >= card.bytes.length) return;
    card.bytes[at] = value;
    card.markWritten(at, 1);
    return;
  }
  const oddEven = (s.sequencer[Sequencer.MEMORY_MODE] & EXTENDED_MEMORY_ODD_EVEN_OFF) === 0;
  const cell = (oddEven ? at & ~1 : at) * 4;
  if (cell + 3 >= card.bytes.length) return;
  const planes = oddEven ? mask & (at & 1 ? 0b1010 : 0b0101) : mask;
  if (planes === 0) return;
  writePlanes(s, card.bytes, cell, planes, value);
  card.markWritten(cell, 4);
}

/** The four write modes, and what the function select does to their bytes. */
function writePlanes(
  s: VgaState,
  bytes: Uint8Array,
  cell: number,
  planes: number,
  value: number,
): void {
  const { graphics: g, latch } = s;
  const mode = g[Graphics.MODE] & 3;
  const rotated = rotate(value, g[Graphics.ROTATE] & 7);
  for (let p = 0; p < 4; p++) {
    if (((planes >> p) & 1) === 0) continue;
    if (mode === 1) {
      bytes[cell + p] = latch[p];
      continue;
    }
    const setReset = (g[Graphics.SET_RESET] >> p) & 1 ? 0xff : 0;
    let bit = g[Graphics.BIT_MASK];
    let data = rotated;
    if (mode === 0 && (g[Graphics.ENABLE_SET_RESET] >> p) & 1) data = setReset;
    if (mode === 2) data = (value >> p) & 1 ? 0xff : 0;
    if (mode === 3) {
      data = setReset;
      bit &= rotated;
    }
    bytes[cell + p] = (combine(g[Graphics.ROTATE], data, latch[p]) & bit) | (latch[p] & ~bit);
  }
}

function combine(rotateRegister: number, data: number, latched: number): number {
  switch ((rotateRegister >> 3) & 3) {
    case 1:
      return data & latched;
    case 2:
      return data | latched;
    case 3:
      return data ^ latched;
    default:
      return data;
  }
}

const rotate = (value: number, by: number): number => ((value >> by) | (value << (8 - by))) & 0xff;
