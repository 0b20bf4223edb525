/** What the registers of a VGA say is shown (IBM VGA Technical Reference, chapter 2). */
import { type VbeMode, vbeEnabled, vbeMode } from './vbe.js';
import { Attribute, Crtc, Graphics, PALETTE_ON, Sequencer, type VgaState } from './vga-state.js';

/** How the address counter of the CRTC finds its bytes. */
interface Counter {
  start: number;
  /** From one row of characters, or of pixels, to the next. */
  stride: number;
  /** In a 16-bit word of two planes: 2, else 1. */
  step: number;
  /** Address bits 13 and 14 are the lowest bits of the line in a row (CGA, Hercules). */
  interleave13: boolean;
  interleave14: boolean;
  /** The first line that is shown from address 0. */
  split: number;
}

export interface TextMode extends Counter {
  kind: 'text';
  columns: number;
  rows: number;
  cellWidth: 8 | 9;
  cellHeight: number;
}

export interface PixelMode extends Counter {
  kind: 'planes' | 'cga' | 'bytes';
  width: number;
  height: number;
  /** A pixel is this many dots wide. */
  dots: 1 | 2;
  /** Lines of one row of the counter, and times that each is shown. */
  lines: number;
  doubled: 0 | 1;
}

export type ScreenMode = { kind: 'blank' } | TextMode | PixelMode | ({ kind: 'linear' } & VbeMode);

export function screenMode(s: VgaState, memoryBytes: number): ScreenMode {
  if ((s.attributeIndex & PALETTE_ON) === 0) return { kind: 'blank' };
  if (vbeEnabled(s)) return { kind: 'linear', ...vbeMode(s, memoryBytes) };
  return (s.graphics[Graphics.MISC] & 1) === 0 ? textMode(s) : pixelMode(s);
}

/** Lines on the screen. */
function displayedLines({ crtc: c }: VgaState): number {
  const overflow = c[Crtc.OVERFLOW];
  const high = ((overflow & 0x02) << 7) | ((overflow & 0x40) << 3);
  return (c[Crtc.VERTICAL_DISPLAY_END] | high) + 1;
}

function counter({ crtc: c }: VgaState): Counter {
  const high = ((c[Crtc.OVERFLOW] & 0x10) << 4) | ((c[Crtc.MAXIMUM_SCAN_LINE] & 0x40) << 3);
  const split = (c[Crtc.LINE_COMPARE] | high) + 1;
  return {
    start: (c[Crtc.START_HIGH] << 8) | c[Crtc.START_LOW],
    stride: c[Crtc.OFFSET] * 2,
    step: (c[Crtc.MODE] & 0x40) === 0 ? 2 : 1,
    interleave13: (c[Crtc.MODE] & 1) === 0,
    interleave14: (c[Crtc.MODE] & 2) === 0,
    split,
  };
}

function textMode(s: VgaState): ScreenMode {
  const columns = s.crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1;
  const cellHeight = (s.crtc[Crtc.MAXIMUM_SCAN_LINE] & 0x1f) + 1;
  const rows = Math.floor(displayedLines(s) / cellHeight);
  if (rows === 0) return { kind: 'blank' };
  const cellWidth = (s.sequencer[Sequencer.CLOCKING] & 1) !== 0 ? 8 : 9;
  return { ...counter(s), kind: 'text', columns, rows, cellWidth, cellHeight };
}

function pixelMode(s: VgaState): ScreenMode {
  const shift = (s.graphics[Graphics.MODE] >> 5) & 3;
  const half = (s.sequencer[Sequencer.CLOCKING] & 0x08) !== 0;
  const dots = half || shift >= 2 ? 2 : 1;
  const clocks = s.crtc[Crtc.HORIZONTAL_DISPLAY_END] + 1;
  const kind = shift >= 2 ? 'bytes' : shift === 1 ? 'cga' : 'planes';
  return {
    ...counter(s),
    kind,
    // With half the dot clock eight pixels take two of its periods.
    width: clocks * 8 * (half && shift < 2 ? 2 : 1),
    height: displayedLines(s),
    dots,
    lines: (s.crtc[Crtc.MAXIMUM_SCAN_LINE] & 0x1f) + 1,
    doubled: (s.crtc[Crtc.MAXIMUM_SCAN_LINE] & 0x80) !== 0 ? 1 : 0,
  };
}

/** Address of the counter, in each plane, in this line of this row. */
export function counterAddress(c: Counter, at: number, line: number): number {
  let address = at * c.step;
  if (c.interleave13) address = (address & ~0x2000) | ((line & 1) << 13);
  if (c.interleave14) address = (address & ~0x4000) | ((line & 2) << 13);
  return address & 0xffff;
}

export interface Cursor {
  /** Address counter of its cell. */
  at: number;
  first: number;
  last: number;
}

/** undefined: it is off. */
export function textCursor({ crtc: c }: VgaState): Cursor | undefined {
  if ((c[Crtc.CURSOR_START] & 0x20) !== 0) return undefined;
  const first = c[Crtc.CURSOR_START] & 0x1f;
  const last = c[Crtc.CURSOR_END] & 0x1f;
  if (first > last) return undefined;
  return { at: (c[Crtc.CURSOR_HIGH] << 8) | c[Crtc.CURSOR_LOW], first, last };
}

/** Where the glyphs of attributes without and with bit 3 begin, in plane 2. */
export function fontOffsets(s: VgaState): readonly [number, number] {
  const select = s.sequencer[Sequencer.CHARACTER_MAP];
  const offset = (low: number, high: number) => low * 0x4000 + (high === 0 ? 0 : 0x2000);
  return [offset(select & 3, select & 0x10), offset((select >> 2) & 3, select & 0x20)];
}

export const blinks = (s: VgaState): boolean => (s.attribute[Attribute.MODE] & 0x08) !== 0;
/** Line graphics reach into the ninth column. */
export const ninthColumn = (s: VgaState): boolean => (s.attribute[Attribute.MODE] & 0x04) !== 0;
