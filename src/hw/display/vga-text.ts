/**
 * Text to pixels. Glyphs are the guest's, in plane 2, 32 bytes for each character. Nothing blinks:
 * a picture taken twice is the same twice.
 */
import { type Painter, RowsChanged } from './surface.js';
import {
  blinks,
  counterAddress,
  type Cursor,
  fontOffsets,
  ninthColumn,
  textCursor,
  type TextMode,
} from './vga-mode.js';
import type { VgaState } from './vga-state.js';

const GLYPH_BYTES = 32;
/** Bytes of a cell in what a row is compared by: character, attribute, the cursor's lines. */
const CELL = 4;

/** What the glyphs look like: a change of any is a change of the screen. */
export function fontKey(s: VgaState, bytes: Uint8Array): number {
  let hash = 2166136261;
  const [a, b] = fontOffsets(s);
  for (const font of a === b ? [a] : [a, b])
    for (let at = font; at < font + 256 * GLYPH_BYTES; at++)
      hash = Math.imul(hash ^ (bytes[at * 4 + 2] ?? 0), 16777619);
  return hash >>> 0;
}

export function paintText(
  s: VgaState,
  mode: TextMode,
  bytes: Uint8Array,
  colors: Uint32Array,
  painter: Painter,
): RowsChanged {
  const changed = new RowsChanged();
  const cursor = textCursor(s);
  const text = new TextPainter(s, mode, bytes, colors, painter);
  for (let row = 0; row < mode.rows; row++) {
    const cells = cellsOf(mode, bytes, row, cursor);
    const was = painter.rows[row] as Uint8Array | undefined;
    let first = mode.columns;
    let last = -1;
    for (let column = 0; column < mode.columns; column++) {
      const at = column * CELL;
      if (was && isSameCell(was, cells, at)) continue;
      first = Math.min(first, column);
      last = column;
      text.cell(row, column, cells, at, cursor);
    }
    painter.rows[row] = cells;
    const { cellWidth: w, cellHeight: h } = mode;
    if (last >= 0) changed.add(row * h, h, first * w, (last + 1) * w);
  }
  return changed;
}

function isSameCell(a: Uint8Array, b: Uint8Array, at: number): boolean {
  for (let i = at; i < at + CELL; i++) if (a[i] !== b[i]) return false;
  return true;
}

function cellsOf(
  mode: TextMode,
  bytes: Uint8Array,
  row: number,
  cursor: Cursor | undefined,
): Uint8Array {
  const below = row * mode.cellHeight >= mode.split;
  const from = below
    ? (row - Math.ceil(mode.split / mode.cellHeight)) * mode.stride
    : mode.start + row * mode.stride;
  const cells = new Uint8Array(mode.columns * CELL);
  for (let column = 0; column < mode.columns; column++) {
    const at = (from + column) & 0xffff;
    const cell = counterAddress(mode, at, 0) * 4;
    cells[column * CELL] = bytes[cell];
    cells[column * CELL + 1] = bytes[cell + 1];
    if (cursor?.at !== at) continue;
    cells[column * CELL + 2] = 1 + cursor.first;
    cells[column * CELL + 3] = cursor.last;
  }
  return cells;
}

class TextPainter {
  private readonly fonts: readonly [number, number];
  private readonly oneFont: boolean;
  private readonly blinks: boolean;
  private readonly ninth: boolean;

  constructor(
    s: VgaState,
    private readonly mode: TextMode,
    private readonly bytes: Uint8Array,
    private readonly colors: Uint32Array,
    private readonly painter: Painter,
  ) {
    this.fonts = fontOffsets(s);
    this.oneFont = this.fonts[0] === this.fonts[1];
    this.blinks = blinks(s);
    this.ninth = ninthColumn(s);
  }

  cell(
    row: number,
    column: number,
    cells: Uint8Array,
    at: number,
    cursor: Cursor | undefined,
  ): void {
    const { mode, bytes, colors } = this;
    const { pixels, width } = this.painter.surface;
    const character = cells[at];
    const attribute = cells[at + 1];
    const bold = (attribute >> 3) & 1;
    const front = colors[this.oneFont ? attribute & 0xf : attribute & 0x7];
    const back = colors[(attribute >> 4) & (this.blinks ? 0x7 : 0xf)];
    const glyph = (this.fonts[bold] + character * GLYPH_BYTES) * 4 + 2;
    const repeats = this.ninth && character >= 0xc0 && character <= 0xdf;
    for (let y = 0; y < mode.cellHeight; y++) {
      let dots = (bytes[glyph + y * 4] ?? 0) << 1;
      if (repeats && dots & 2) dots |= 1;
      if (cells[at + 2] !== 0 && cursor && y >= cursor.first && y <= cursor.last) dots = 0x1ff;
      const to = (row * mode.cellHeight + y) * width + column * mode.cellWidth;
      for (let x = 0; x < mode.cellWidth; x++)
        pixels[to + x] = (dots >> (8 - x)) & 1 ? front : back;
    }
  }
}
