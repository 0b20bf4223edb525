/** Rectangles as RFB sends them (RFC 6143, section 7.7), without their heads. */
import type { Rect, Surface } from '../hw/display/surface.js';
import type { PixelWriter } from './pixels.js';

const HEXTILE = 16;
const Hextile = { RAW: 1, BACKGROUND: 2, FOREGROUND: 4, SUBRECTS: 8, COLOURED: 16 } as const;
const ZRLE_TILE = 64;
const ZRLE_PALETTE_MAX = 16;

function* tiles(rect: Rect, size: number): Generator<Rect> {
  const { x: left, y: top } = rect;
  for (let y = top; y < top + rect.height; y += size)
    for (let x = left; x < left + rect.width; x += size)
      yield {
        x,
        y,
        width: Math.min(size, left + rect.width - x),
        height: Math.min(size, top + rect.height - y),
      };
}

/** At most `limit` colours in order of appearance; undefined: there are more. */
function paletteOf(
  { pixels, width }: Surface,
  r: Rect,
  limit: number,
): Map<number, number> | undefined {
  const palette = new Map<number, number>();
  for (let y = r.y; y < r.y + r.height; y++)
    for (let i = y * width + r.x, end = i + r.width; i < end; i++) {
      if (palette.has(pixels[i])) continue;
      if (palette.size === limit) return undefined;
      palette.set(pixels[i], palette.size);
    }
  return palette;
}

// --- hextile

export function hextile(surface: Surface, rect: Rect, writer: PixelWriter): Buffer {
  const parts: Buffer[] = [];
  for (const tile of tiles(rect, HEXTILE)) parts.push(hextileOf(surface, tile, writer));
  return Buffer.concat(parts);
}

function hextileOf(surface: Surface, tile: Rect, writer: PixelWriter): Buffer {
  const raw = () => Buffer.concat([Buffer.of(Hextile.RAW), writer.raw(surface, tile)]);
  const palette = paletteOf(surface, tile, 2);
  if (!palette) return raw();
  const [back, front] = [...palette.keys()];
  const head = Buffer.alloc(2 + 2 * writer.bytes);
  let at = writer.put(head, 1, back);
  head[0] = Hextile.BACKGROUND;
  if (palette.size === 1) return head.subarray(0, at);
  head[0] |= Hextile.FOREGROUND | Hextile.SUBRECTS;
  at = writer.put(head, at, front);
  const runs = runsOf(surface, tile, front);
  const rawBytes = tile.width * tile.height * writer.bytes;
  if (runs.length > 255 || runs.length * 2 >= rawBytes) return raw();
  head[at++] = runs.length;
  const body = runs.flatMap(({ x, y, width }) => [(x << 4) | y, (width - 1) << 4]);
  return Buffer.concat([head.subarray(0, at), Buffer.from(body)]);
}

/** Pieces of a row in one colour, within the tile. */
function runsOf({ pixels, width: stride }: Surface, tile: Rect, color: number) {
  const runs: { x: number; y: number; width: number }[] = [];
  for (let y = 0; y < tile.height; y++) {
    const row = (tile.y + y) * stride + tile.x;
    for (let x = 0; x < tile.width; x++) {
      if (pixels[row + x] !== color) continue;
      const from = x;
      while (x < tile.width && pixels[row + x] === color) x++;
      runs.push({ x: from, y, width: x - from });
    }
  }
  return runs;
}

// --- ZRLE, before zlib

export function zrle(surface: Surface, rect: Rect, writer: PixelWriter): Buffer {
  const parts: Buffer[] = [];
  for (const tile of tiles(rect, ZRLE_TILE)) parts.push(zrleTile(surface, tile, writer));
  return Buffer.concat(parts);
}

function zrleTile(surface: Surface, tile: Rect, writer: PixelWriter): Buffer {
  const palette = paletteOf(surface, tile, ZRLE_PALETTE_MAX);
  const head = Buffer.alloc(1 + ZRLE_PALETTE_MAX * 4);
  if (!palette) {
    const out = Buffer.allocUnsafe(1 + tile.width * tile.height * writer.compactBytes);
    out[0] = 0; // raw
    const end = eachPixel(surface, tile, 1, (at, pixel) => writer.putCompact(out, at, pixel));
    return out.subarray(0, end);
  }
  head[0] = palette.size;
  let at = 1;
  for (const color of palette.keys()) at = writer.putCompact(head, at, color);
  if (palette.size === 1) return head.subarray(0, at);
  return Buffer.concat([head.subarray(0, at), packedIndices(surface, tile, palette)]);
}

function eachPixel(
  { pixels, width }: Surface,
  r: Rect,
  start: number,
  put: (at: number, pixel: number) => number,
): number {
  let at = start;
  for (let y = r.y; y < r.y + r.height; y++)
    for (let i = y * width + r.x, end = i + r.width; i < end; i++) at = put(at, pixels[i]);
  return at;
}

/** Each row begins a byte. */
function packedIndices(
  { pixels, width }: Surface,
  tile: Rect,
  palette: ReadonlyMap<number, number>,
): Buffer {
  const bits = palette.size === 2 ? 1 : palette.size <= 4 ? 2 : 4;
  const rowBytes = Math.ceil((tile.width * bits) / 8);
  const out = Buffer.alloc(rowBytes * tile.height);
  for (let y = 0; y < tile.height; y++) {
    const row = (tile.y + y) * width + tile.x;
    for (let x = 0; x < tile.width; x++) {
      const index = palette.get(pixels[row + x]) ?? 0;
      const bit = x * bits;
      out[y * rowBytes + (bit >> 3)] |= index << (8 - bits - (bit & 7));
    }
  }
  return out;
}
