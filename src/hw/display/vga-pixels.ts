/**
 * Pixels of a card's memory to those of a surface, a line at a time: only lines whose bytes have
 * changed are drawn.
 */
import { lineBytes, type VbeMode } from './vbe.js';
import { type Painter, RowsChanged } from './surface.js';
import { counterAddress, type PixelMode } from './vga-mode.js';

/** Draws the pixels of one line into out. */
type DrawLine = (line: Uint8Array, out: Uint32Array) => void;

interface Lines {
  readonly height: number;
  /** The bytes of line y; what lies behind the end of the memory is missing. */
  bytes(y: number): Uint8Array;
  readonly draw: DrawLine;
}

export function paintLinear(
  mode: VbeMode,
  memory: Uint8Array,
  palettes: { dac: Uint32Array; attribute: Uint32Array },
  painter: Painter,
): RowsChanged {
  const { width, height, bpp, start, stride } = mode;
  const planes = bpp === 4 ? 4 : 1;
  const length = lineBytes(width, bpp) * planes;
  const lines: Lines = {
    height,
    bytes: y => {
      const at = (start + y * stride) * planes;
      return memory.subarray(at, at + length);
    },
    draw: drawerOf(bpp, palettes),
  };
  return paintLines(lines, painter);
}

export function paintVga(
  mode: PixelMode,
  memory: Uint8Array,
  palettes: { dac: Uint32Array; attribute: Uint32Array },
  painter: Painter,
): RowsChanged {
  const pixels = mode.width / mode.dots;
  const bytes = mode.kind === 'planes' ? pixels >> 1 : pixels;
  const draw = {
    bytes: indexed(palettes.dac),
    planes: planar(palettes.attribute),
    cga: twoBits(palettes.attribute),
  }[mode.kind];
  const half = new Uint32Array(pixels);
  const lines: Lines = {
    height: mode.height,
    bytes: y => {
      const at = lineAddress(mode, y) * 4;
      return memory.subarray(at, at + bytes);
    },
    draw: (line, out) => {
      if (mode.dots === 1) return draw(line, out);
      half.fill(0);
      draw(line, half);
      for (let x = 0; x < pixels; x++) out[2 * x] = out[2 * x + 1] = half[x];
    },
  };
  return paintLines(lines, painter);
}

function lineAddress(mode: PixelMode, y: number): number {
  const below = y >= mode.split;
  const shown = (below ? y - mode.split : y) >> mode.doubled;
  const row = Math.floor(shown / mode.lines);
  const at = (below ? 0 : mode.start) + row * mode.stride;
  // 256 colours take all four bytes of an address, chained or not.
  if (mode.kind === 'bytes') return at & 0xffff;
  return counterAddress(mode, at & 0xffff, shown % mode.lines);
}

function paintLines(lines: Lines, painter: Painter): RowsChanged {
  const changed = new RowsChanged();
  const { width, pixels } = painter.surface;
  const drawn = new Uint32Array(width);
  for (let y = 0; y < lines.height; y++) {
    const line = lines.bytes(y);
    const was = painter.rows[y] as Uint8Array | undefined;
    if (was?.length === line.length && Buffer.compare(was, line) === 0) continue;
    if (was?.length === line.length) was.set(line);
    else painter.rows[y] = Uint8Array.from(line);
    drawn.fill(0);
    lines.draw(painter.rows[y], drawn);
    const row = pixels.subarray(y * width, (y + 1) * width);
    let from = 0;
    let to = width;
    if (was !== undefined) {
      while (from < to && row[from] === drawn[from]) from++;
      while (to > from && row[to - 1] === drawn[to - 1]) to--;
    }
    row.set(drawn);
    if (from < to) changed.add(y, 1, from, to);
  }
  return changed;
}

function drawerOf(bpp: number, palettes: { dac: Uint32Array; attribute: Uint32Array }): DrawLine {
  switch (bpp) {
    case 4:
      return planar(palettes.attribute);
    case 15:
      return packed(10, 5, 5);
    case 16:
      return packed(11, 6, 5);
    case 24:
      return drawRgb24;
    case 32:
      return drawRgb32;
    default:
      return indexed(palettes.dac);
  }
}

const indexed =
  (colors: Uint32Array): DrawLine =>
  (line, out) => {
    for (let x = 0; x < line.length; x++) out[x] = colors[line[x]];
  };

/** Four bytes, one of each plane, are eight pixels. */
const planar =
  (colors: Uint32Array): DrawLine =>
  (line, out) => {
    for (let at = 0; at + 3 < line.length; at += 4)
      for (let bit = 7; bit >= 0; bit--) {
        const index =
          ((line[at] >> bit) & 1) |
          (((line[at + 1] >> bit) & 1) << 1) |
          (((line[at + 2] >> bit) & 1) << 2) |
          (((line[at + 3] >> bit) & 1) << 3);
        out[at * 2 + 7 - bit] = colors[index];
      }
  };

/** A CGA's: four pixels in a byte of plane 0, then four in one of plane 1. */
const twoBits =
  (colors: Uint32Array): DrawLine =>
  (line, out) => {
    let x = 0;
    for (let at = 0; at + 1 < line.length; at += 8)
      for (const byte of [line[at], line[at + 1]])
        for (let shift = 6; shift >= 0; shift -= 2) out[x++] = colors[(byte >> shift) & 3];
  };

const packed = (redAt: number, greenBits: number, greenAt: number): DrawLine => {
  const wide = (v: number, bits: number) => (v << (8 - bits)) | (v >> (2 * bits - 8));
  return (line, out) => {
    for (let x = 0; 2 * x + 1 < line.length; x++) {
      const v = line[2 * x] | (line[2 * x + 1] << 8);
      out[x] =
        (wide((v >> redAt) & 0x1f, 5) << 16) |
        (wide((v >> greenAt) & ((1 << greenBits) - 1), greenBits) << 8) |
        wide(v & 0x1f, 5);
    }
  };
};

const drawRgb24: DrawLine = (line, out) => {
  for (let x = 0, at = 0; at + 2 < line.length; x++, at += 3)
    out[x] = line[at] | (line[at + 1] << 8) | (line[at + 2] << 16);
};

const drawRgb32: DrawLine = (line, out) => {
  const words = new Uint32Array(line.buffer, line.byteOffset, line.length >> 2);
  for (let x = 0; x < words.length; x++) out[x] = words[x] & 0xff_ffff;
};
