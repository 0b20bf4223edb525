/** Pixels of a surface in the format that a viewer asked for. */
import type { Rect, Surface } from '../hw/display/surface.js';
import type { PixelFormat } from './messages.js';

export class PixelWriter {
  readonly bytes: 1 | 2 | 4;
  /** ZRLE leaves the byte out that has no colour in it: where it would be, or -1. */
  private readonly unused: 0 | 3 | -1;
  private readonly red: readonly [number, number];
  private readonly green: readonly [number, number];
  private readonly blue: readonly [number, number];

  constructor(private readonly format: PixelFormat) {
    this.bytes = (format.bitsPerPixel / 8) as 1 | 2 | 4;
    const shift = (max: number) => 8 - Math.log2(max + 1);
    this.red = [shift(format.redMax), format.redShift];
    this.green = [shift(format.greenMax), format.greenShift];
    this.blue = [shift(format.blueMax), format.blueShift];
    this.unused = this.unusedByte();
  }

  /** Bytes of a pixel in ZRLE (RFC 6143, 7.7.5: CPIXEL). */
  get compactBytes(): number {
    return this.unused < 0 ? this.bytes : 3;
  }

  /** 0x00RRGGBB to the value of the viewer's pixel. */
  value(pixel: number): number {
    const part = (at: number, [lose, shift]: readonly [number, number]) =>
      (((pixel >> at) & 0xff) >> lose) << shift;
    return (part(16, this.red) | part(8, this.green) | part(0, this.blue)) >>> 0;
  }

  /** Returns the offset behind it. */
  put(out: Buffer, at: number, pixel: number): number {
    return this.write(out, at, this.value(pixel), this.bytes);
  }

  putCompact(out: Buffer, at: number, pixel: number): number {
    const value = this.value(pixel);
    if (this.unused < 0) return this.write(out, at, value, this.bytes);
    const three = this.unused === 3 ? value & 0xff_ffff : value >>> 8;
    return this.write(out, at, three, 3);
  }

  /** All of a rectangle, row by row. */
  raw({ pixels, width }: Surface, rect: Rect): Buffer {
    const out = Buffer.allocUnsafe(rect.width * rect.height * this.bytes);
    let at = 0;
    for (let y = rect.y; y < rect.y + rect.height; y++)
      for (let i = y * width + rect.x, end = i + rect.width; i < end; i++)
        at = this.put(out, at, pixels[i]);
    return out;
  }

  private write(out: Buffer, at: number, value: number, bytes: number): number {
    for (let i = 0; i < bytes; i++)
      out[at + (this.format.bigEndian ? bytes - 1 - i : i)] = value >>> (8 * i);
    return at + bytes;
  }

  private unusedByte(): 0 | 3 | -1 {
    const { format } = this;
    if (format.bitsPerPixel !== 32 || format.depth > 24) return -1;
    const used = this.value(0xff_ffff);
    if (used <= 0xff_ffff) return 3;
    return (used & 0xff) === 0 ? 0 : -1;
  }
}
