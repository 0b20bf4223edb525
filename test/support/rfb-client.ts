/** A viewer for tests: RFB 3.8 in a straight line, all encodings that the server has. */
import { createInflate, constants, type Inflate } from 'node:zlib';
import type { Stream } from '../../src/host/ports.js';
import { IncomingBytes } from '../../src/vnc/incoming-bytes.js';
import { vncResponse } from '../../src/vnc/security.js';

export class RfbClient {
  readonly bytes: IncomingBytes;
  width = 0;
  height = 0;
  name = '';
  pixels = new Uint32Array(0);
  /** What was announced by rectangles that are none: encoding, x. */
  readonly announced: [number, number][] = [];
  /** Bytes of the last update's rectangles by encoding. */
  readonly rects: { encoding: number; x: number; y: number; width: number; height: number }[] = [];
  private inflate: Inflate | undefined;

  constructor(readonly stream: Stream) {
    this.bytes = new IncomingBytes(stream);
  }

  send(...bytes: number[]): Promise<void> {
    return this.stream.write(Buffer.from(bytes));
  }

  async open({ version = '003.008', password = '', shared = 1 } = {}): Promise<void> {
    await this.bytes.take(12);
    await this.stream.write(Buffer.from(`RFB ${version}\n`));
    const type = await this.securityType(version);
    if (type === 2) await this.stream.write(vncResponse(password, await this.bytes.take(16)));
    if (type === 2 || version === '003.008') {
      const result = (await this.bytes.take(4)).readUInt32BE();
      if (result !== 0) throw new Error(version === '003.008' ? await this.reason() : 'refused');
    }
    await this.send(shared);
    const head = Buffer.from(await this.bytes.take(24));
    this.resize(head.readUInt16BE(0), head.readUInt16BE(2));
    this.name = (await this.bytes.take(head.readUInt32BE(20))).toString();
  }

  encodings(...wanted: number[]): Promise<void> {
    const b = Buffer.alloc(4 + 4 * wanted.length);
    b[0] = 2;
    b.writeUInt16BE(wanted.length, 2);
    wanted.forEach((encoding, n) => b.writeInt32BE(encoding, 4 + 4 * n));
    return this.stream.write(b);
  }

  async request(incremental: boolean): Promise<void> {
    const b = Buffer.alloc(10);
    b.set([3, incremental ? 1 : 0]);
    b.writeUInt16BE(this.width, 6);
    b.writeUInt16BE(this.height, 8);
    await this.stream.write(b);
  }

  key(keysym: number, down: boolean): Promise<void> {
    const b = Buffer.alloc(8);
    b.set([4, down ? 1 : 0]);
    b.writeUInt32BE(keysym, 4);
    return this.stream.write(b);
  }

  /** One update, drawn. */
  async update(): Promise<void> {
    const head = Buffer.from(await this.bytes.take(4));
    this.rects.length = 0;
    for (let n = head.readUInt16BE(2); n > 0; n--) await this.rect();
  }

  private async securityType(version: string): Promise<number> {
    if (version === '003.003') {
      const type = (await this.bytes.take(4)).readUInt32BE();
      if (type === 0) throw new Error(await this.reason());
      return type;
    }
    const [count] = await this.bytes.take(1);
    const [type] = await this.bytes.take(count);
    await this.send(type);
    return type;
  }

  private async reason(): Promise<string> {
    return (await this.bytes.take((await this.bytes.take(4)).readUInt32BE())).toString();
  }

  private resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
  }

  private async rect(): Promise<void> {
    const h = Buffer.from(await this.bytes.take(12));
    const [x, y, width, height] = [0, 2, 4, 6].map(at => h.readUInt16BE(at));
    const encoding = h.readInt32BE(8);
    if (encoding < 0) {
      this.announced.push([encoding, x]);
      if (encoding === -223) this.resize(width, height);
      return;
    }
    this.rects.push({ encoding, x, y, width, height });
    if (encoding === 0) this.raw(await this.bytes.take(width * height * 4), x, y, width, height);
    else if (encoding === 5) await this.hextile(x, y, width, height);
    else {
      const length = (await this.bytes.take(4)).readUInt32BE();
      const plain = await this.inflated(await this.bytes.take(length));
      if (encoding === 6) this.raw(plain, x, y, width, height);
      else this.zrle(plain, x, y, width, height);
    }
  }

  private raw(bytes: Buffer, x: number, y: number, width: number, height: number): void {
    for (let row = 0; row < height; row++)
      for (let i = 0; i < width; i++)
        this.dot(x + i, y + row, bytes.readUInt32LE((row * width + i) * 4));
  }

  private dot(x: number, y: number, pixel: number): void {
    this.pixels[y * this.width + x] = pixel & 0xff_ffff;
  }

  private async hextile(left: number, top: number, width: number, height: number): Promise<void> {
    let back = 0;
    let front = 0;
    const pixel = async () => (await this.bytes.take(4)).readUInt32LE();
    for (let y = top; y < top + height; y += 16)
      for (let x = left; x < left + width; x += 16) {
        const w = Math.min(16, left + width - x);
        const h = Math.min(16, top + height - y);
        const [kind] = await this.bytes.take(1);
        if (kind & 1) {
          this.raw(await this.bytes.take(w * h * 4), x, y, w, h);
          continue;
        }
        if (kind & 2) back = await pixel();
        if (kind & 4) front = await pixel();
        for (let j = 0; j < h; j++) for (let i = 0; i < w; i++) this.dot(x + i, y + j, back);
        const [count] = kind & 8 ? await this.bytes.take(1) : [0];
        for (let n = 0; n < count; n++) {
          const [at, size] = await this.bytes.take(2);
          for (let j = 0; j <= (size & 15); j++)
            for (let i = 0; i <= size >> 4; i++)
              this.dot(x + (at >> 4) + i, y + (at & 15) + j, front);
        }
      }
  }

  private zrle(b: Buffer, left: number, top: number, width: number, height: number): void {
    let at = 0;
    const pixel = () => (at += 3) && b.readUIntLE(at - 3, 3);
    for (let y = top; y < top + height; y += 64)
      for (let x = left; x < left + width; x += 64) {
        const w = Math.min(64, left + width - x);
        const h = Math.min(64, top + height - y);
        const size = b[at++];
        const palette = Array.from({ length: size }, pixel);
        const bits = size === 2 ? 1 : size <= 4 ? 2 : 4;
        for (let j = 0; j < h; j++) {
          for (let i = 0; i < w; i++) {
            if (size === 0) this.dot(x + i, y + j, pixel());
            else if (size === 1) this.dot(x + i, y + j, palette[0]);
            else {
              const bit = i * bits;
              const index = (b[at + (bit >> 3)] >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
              this.dot(x + i, y + j, palette[index]);
            }
          }
          if (size > 1) at += Math.ceil((w * bits) / 8);
        }
      }
    if (at !== b.length) throw new Error(`${b.length - at} bytes of ZRLE are left over`);
  }

  private async inflated(bytes: Buffer): Promise<Buffer> {
    const inflate = (this.inflate ??= createInflate());
    const parts: Buffer[] = [];
    const collect = (part: Buffer) => void parts.push(part);
    inflate.on('data', collect);
    await new Promise<void>(resolve => {
      inflate.write(bytes);
      inflate.flush(constants.Z_SYNC_FLUSH, resolve);
    });
    inflate.off('data', collect);
    return Buffer.concat(parts);
  }
}
