/** A picture of the screen as a file: PPM (netpbm), or PNG (its specification, chapter 11). */
import { crc32, deflate } from 'node:zlib';
import { promisify } from 'node:util';
import type { Surface } from '../hw/display/surface.js';
import type { Files } from '../host/ports.js';

export const pictureFormats = ['ppm', 'png'] as const;
export type PictureFormat = (typeof pictureFormats)[number];

const SIGNATURE = Buffer.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const TRUE_COLOR = 2;

/** The file is there whole, or as it was. */
export async function savePicture(
  files: Files,
  path: string,
  surface: Surface,
  format: PictureFormat,
): Promise<void> {
  // The screen goes on; this is the picture of now.
  const rows = rgbRows(surface, format === 'png' ? 1 : 0);
  const { width, height } = surface;
  const bytes =
    format === 'ppm'
      ? Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), rows])
      : await png(width, height, rows);
  const replacement = await files.replace(path, 0o644);
  try {
    await replacement.file.pwrite(bytes, 0);
    await replacement.keep();
  } catch (error) {
    await replacement.discard();
    throw error;
  }
}

/** Red, green, blue; each row with so many zeroes before it (PNG: no filter). */
function rgbRows({ width, height, pixels }: Surface, before: number): Buffer {
  const out = Buffer.alloc((before + 3 * width) * height);
  let at = 0;
  for (let y = 0; y < height; y++) {
    at += before;
    for (let i = y * width, end = i + width; i < end; i++) {
      out[at++] = pixels[i] >>> 16;
      out[at++] = pixels[i] >>> 8;
      out[at++] = pixels[i];
    }
  }
  return out;
}

async function png(width: number, height: number, rows: Buffer): Promise<Buffer> {
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, TRUE_COLOR], 8);
  const data = await promisify(deflate)(rows);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', head),
    chunk('IDAT', data),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}
