/**
 * One viewer after its handshake: what it wants, what it has not seen, and one update on its way at
 * most. While that one is not taken by the network nothing is encoded for it, and what changes
 * meanwhile adds up.
 */
import { constants, createDeflate, type Deflate } from 'node:zlib';
import type { Rect, Surface } from '../hw/display/surface.js';
import { ABSOLUTE_MAX, type InputRouter } from '../hw/input/router.js';
import { codeOfKeysym } from './keysyms.js';
import { hextile, zrle } from './encode.js';
import { nextViewerMessage, ownFormat, type ViewerMessage } from './messages.js';
import { PixelWriter } from './pixels.js';
import { Region } from './region.js';
import type { Admitted } from './security.js';

export const Encoding = {
  RAW: 0,
  HEXTILE: 5,
  ZLIB: 6,
  ZRLE: 16,
  DESKTOP_SIZE: -223,
  POINTER_MOTION: -257,
  EXTENDED_KEY: -258,
} as const;
/** From the best on. */
const KNOWN = [Encoding.ZRLE, Encoding.ZLIB, Encoding.HEXTILE, Encoding.RAW] as const;
/** What of a rectangle is encoded in one turn of the main loop, in whole rows. */
const PIXELS_A_PIECE = 256 * 1024;
/** What a relative pointer's positions are counted from. */
const RELATIVE_ZERO = 0x7fff;
/** In bits of RFB's button mask. */
const BUTTONS = ['left', 'middle', 'right', 'wheel-up', 'wheel-down'] as const;

export interface ViewerPorts {
  readonly input: InputRouter;
  /** This side takes what is typed; a secondary does not. */
  takesInput(): boolean;
  /** It has asked for a picture, or moved something: look soon. */
  stirred(): void;
  /** It takes no more pictures. */
  gone(): void;
}

export class Viewer {
  private writer = new PixelWriter(ownFormat);
  private encoding: (typeof KNOWN)[number] = Encoding.RAW;
  private features = new Set<number>();
  private readonly unseen = new Region();
  private wanted = false;
  private sending = false;
  private size: { width: number; height: number };
  private sizeChanged = false;
  /** undefined: the viewer does not know yet. */
  private absolute: boolean | undefined;
  private keyAnnounced = false;
  private readonly held = new Set<number>();
  private buttons = 0;
  private last: { x: number; y: number } | undefined;
  private deflate: Deflate | undefined;

  constructor(
    private readonly connection: Admitted,
    private surface: Surface,
    private readonly ports: ViewerPorts,
  ) {
    this.size = { width: surface.width, height: surface.height };
    this.unseen.add({ x: 0, y: 0, ...this.size });
  }

  /** Until the viewer leaves or says something wrong. */
  async serve(): Promise<void> {
    const { incoming } = this.connection;
    for (let need = 1; ;) {
      const next = nextViewerMessage(await incoming.peek(need));
      if ('need' in next) {
        need = next.need;
        continue;
      }
      await incoming.take(next.use);
      need = 1;
      if (next.message.kind === 'skip') await incoming.skip(next.message.bytes);
      else this.take(next.message);
    }
  }

  /** It wants a picture and none is on its way. */
  get waits(): boolean {
    return this.wanted && !this.sending;
  }

  /** The screen has changed. */
  painted(surface: Surface, changed: readonly Rect[]): void {
    if (surface !== this.surface) {
      this.surface = surface;
      this.sizeChanged = surface.width !== this.size.width || surface.height !== this.size.height;
      this.unseen.add({ x: 0, y: 0, width: surface.width, height: surface.height });
    }
    for (const rect of changed) this.unseen.add(rect);
    this.update();
  }

  close(): void {
    this.ports.input.releaseAll(this.held);
    if (this.buttons !== 0) {
      this.press(0);
      this.ports.input.sync();
    }
    this.deflate?.destroy();
    this.connection.stream.destroy();
  }

  // --- what it says

  private take(message: Exclude<ViewerMessage, { kind: 'skip' }>): void {
    switch (message.kind) {
      case 'pixel-format':
        this.writer = new PixelWriter(message.format);
        return;
      case 'encodings':
        return this.setEncodings(message.encodings);
      case 'update-request':
        this.wanted = true;
        if (!message.incremental) this.unseen.add(message);
        this.ports.stirred();
        return this.update();
      case 'key':
        return this.key(message.code, message.keysym, message.down);
      case 'pointer':
        this.pointer(message.buttons, message.x, message.y);
        return this.ports.stirred();
    }
  }

  /** The viewer's first choice of those that are known. */
  private setEncodings(encodings: readonly number[]): void {
    this.features = new Set(encodings);
    this.encoding =
      KNOWN.find(known => known === encodings.find(e => KNOWN.some(k => k === e))) ?? Encoding.RAW;
    this.absolute = undefined;
    this.keyAnnounced = false;
  }

  private key(raw: number | undefined, keysym: number, down: boolean): void {
    if (!this.ports.takesInput()) return;
    const code = raw === undefined || raw === 0 ? codeOfKeysym(keysym) : codeOfRaw(raw);
    if (code === undefined) return;
    if (down) this.held.add(code);
    else this.held.delete(code);
    this.ports.input.key(code, down);
    this.ports.stirred();
  }

  private pointer(buttons: number, x: number, y: number): void {
    if (!this.ports.takesInput()) return;
    const { input } = this.ports;
    this.press(buttons);
    if (input.absolute) {
      const scaled = (at: number, of: number) =>
        Math.round((Math.min(at, of - 1) * ABSOLUTE_MAX) / Math.max(of - 1, 1));
      input.moveTo('x', scaled(x, this.size.width));
      input.moveTo('y', scaled(y, this.size.height));
    } else if (this.absolute === false) {
      input.moveBy(x - RELATIVE_ZERO, y - RELATIVE_ZERO);
    } else if (this.last) {
      input.moveBy(x - this.last.x, y - this.last.y);
    }
    this.last = { x, y };
    input.sync();
  }

  private press(buttons: number): void {
    BUTTONS.forEach((name, bit) => {
      const now = (buttons >> bit) & 1;
      if (now !== ((this.buttons >> bit) & 1)) this.ports.input.button(name, now === 1);
    });
    this.buttons = buttons & 0x1f;
  }

  // --- what it is told

  private update(): void {
    if (!this.waits || (this.unseen.empty && !this.news())) return;
    this.sending = true;
    this.wanted = false;
    this.send()
      .then(() => {
        this.sending = false;
        this.update();
      })
      .catch(() => this.ports.gone());
  }

  private news(): boolean {
    return (
      (this.sizeChanged && this.features.has(Encoding.DESKTOP_SIZE)) ||
      (this.features.has(Encoding.EXTENDED_KEY) && !this.keyAnnounced) ||
      (this.features.has(Encoding.POINTER_MOTION) && this.absolute !== this.ports.input.absolute)
    );
  }

  private async send(): Promise<void> {
    const heads = this.announcements();
    const { surface, writer, encoding } = this;
    const frame = {
      x: 0,
      y: 0,
      width: Math.min(surface.width, this.size.width),
      height: Math.min(surface.height, this.size.height),
    };
    const rects = this.unseen.take(frame).flatMap(pieces);
    const count = Buffer.alloc(4);
    count.writeUInt16BE(heads.length + rects.length, 2);
    await this.connection.stream.write(Buffer.concat([count, ...heads]));
    for (const rect of rects) {
      const body = await this.encoded(surface, rect, writer, encoding);
      await this.connection.stream.write(Buffer.concat([rectHead(rect, encoding), body]));
    }
  }

  /** Rectangles that are none: they say something else. */
  private announcements(): Buffer[] {
    const heads: Buffer[] = [];
    const { features, surface, ports } = this;
    if (this.sizeChanged && features.has(Encoding.DESKTOP_SIZE)) {
      this.size = { width: surface.width, height: surface.height };
      this.sizeChanged = false;
      heads.push(rectHead({ x: 0, y: 0, ...this.size }, Encoding.DESKTOP_SIZE));
    }
    const none = { x: 0, y: 0, ...this.size };
    if (features.has(Encoding.EXTENDED_KEY) && !this.keyAnnounced) {
      this.keyAnnounced = true;
      heads.push(rectHead(none, Encoding.EXTENDED_KEY));
    }
    if (features.has(Encoding.POINTER_MOTION) && this.absolute !== ports.input.absolute) {
      this.absolute = ports.input.absolute;
      heads.push(rectHead({ ...none, x: this.absolute ? 1 : 0 }, Encoding.POINTER_MOTION));
    }
    return heads;
  }

  private async encoded(
    surface: Surface,
    rect: Rect,
    writer: PixelWriter,
    encoding: (typeof KNOWN)[number],
  ): Promise<Buffer> {
    switch (encoding) {
      case Encoding.RAW:
        return writer.raw(surface, rect);
      case Encoding.HEXTILE:
        return hextile(surface, rect, writer);
      case Encoding.ZLIB:
        return this.compressed(writer.raw(surface, rect));
      case Encoding.ZRLE:
        return this.compressed(zrle(surface, rect, writer));
    }
  }

  /** One stream of zlib for as long as the viewer is there, cut at each rectangle. */
  private async compressed(plain: Buffer): Promise<Buffer> {
    this.deflate ??= createDeflate({ level: 1 });
    const { deflate } = this;
    const parts: Buffer[] = [];
    const collect = (part: Buffer) => void parts.push(part);
    deflate.on('data', collect);
    try {
      await new Promise<void>((resolve, reject) => {
        deflate.once('error', reject);
        deflate.write(plain);
        deflate.flush(constants.Z_SYNC_FLUSH, () => {
          deflate.off('error', reject);
          resolve();
        });
      });
    } finally {
      deflate.off('data', collect);
    }
    const length = Buffer.alloc(4);
    const bytes = Buffer.concat(parts);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  }
}

/** A code of set 1, with its prefix in the high byte or as bit 7. */
function codeOfRaw(raw: number): number | undefined {
  if (raw > 0 && raw < 0x100) return raw;
  return raw >> 8 === 0xe0 ? (raw & 0x7f) | 0x80 : undefined;
}

function rectHead(rect: Rect, encoding: number): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(rect.x, 0);
  head.writeUInt16BE(rect.y, 2);
  head.writeUInt16BE(rect.width, 4);
  head.writeUInt16BE(rect.height, 6);
  head.writeInt32BE(encoding, 8);
  return head;
}

function pieces(rect: Rect): Rect[] {
  const rows = Math.max(1, Math.floor(PIXELS_A_PIECE / rect.width));
  const parts: Rect[] = [];
  for (let y = rect.y; y < rect.y + rect.height; y += rows)
    parts.push({ ...rect, y, height: Math.min(rows, rect.y + rect.height - y) });
  return parts;
}
