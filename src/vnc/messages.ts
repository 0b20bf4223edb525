/**
 * What a viewer sends after the handshake (RFC 6143, section 7.5; QEMU's extended key event). Codec
 * without a socket: short input is a value.
 */
import { VmError } from '../base/errors.js';

export interface PixelFormat {
  bitsPerPixel: 8 | 16 | 32;
  depth: number;
  bigEndian: boolean;
  trueColor: boolean;
  redMax: number;
  greenMax: number;
  blueMax: number;
  redShift: number;
  greenShift: number;
  blueShift: number;
}

export type ViewerMessage =
  | { kind: 'pixel-format'; format: PixelFormat }
  | { kind: 'encodings'; encodings: number[] }
  | {
      kind: 'update-request';
      incremental: boolean;
      x: number;
      y: number;
      width: number;
      height: number;
    }
  | { kind: 'key'; down: boolean; keysym: number; code: number | undefined }
  | { kind: 'pointer'; buttons: number; x: number; y: number }
  /** Text of its clipboard, which no guest device takes: so many bytes follow. */
  | { kind: 'skip'; bytes: number };

const MessageType = {
  SET_PIXEL_FORMAT: 0,
  SET_ENCODINGS: 2,
  UPDATE_REQUEST: 3,
  KEY: 4,
  POINTER: 5,
  CUT_TEXT: 6,
  QEMU: 255,
} as const;
const QEMU_KEY = 0;
const ENCODINGS_MAX = 256;
const CUT_TEXT_MAX = 1 << 20;

/** use: bytes of the message; need: so many at least. VmError: the viewer speaks no RFB. */
export function nextViewerMessage(
  b: Buffer,
): { use: number; message: ViewerMessage } | { need: number } {
  const length = messageLength(b);
  if (b.length < length) return { need: length };
  return { use: length, message: decode(b) };
}

function messageLength(b: Buffer): number {
  if (b.length === 0) return 1;
  switch (b[0]) {
    case MessageType.SET_PIXEL_FORMAT:
      return 20;
    case MessageType.SET_ENCODINGS: {
      if (b.length < 4) return 4;
      const count = b.readUInt16BE(2);
      if (count > ENCODINGS_MAX) throw new VmError(`${count} encodings`);
      return 4 + 4 * count;
    }
    case MessageType.UPDATE_REQUEST:
      return 10;
    case MessageType.KEY:
      return 8;
    case MessageType.POINTER:
      return 6;
    case MessageType.CUT_TEXT:
      return 8;
    case MessageType.QEMU:
      if (b.length < 2) return 2;
      if (b[1] !== QEMU_KEY) throw new VmError(`message 255.${b[1]} is unknown`);
      return 12;
    default:
      throw new VmError(`message ${b[0]} is unknown`);
  }
}

function decode(b: Buffer): ViewerMessage {
  switch (b[0]) {
    case MessageType.SET_PIXEL_FORMAT:
      return { kind: 'pixel-format', format: pixelFormat(b.subarray(4, 20)) };
    case MessageType.SET_ENCODINGS:
      return {
        kind: 'encodings',
        encodings: Array.from({ length: b.readUInt16BE(2) }, (_, i) => b.readInt32BE(4 + 4 * i)),
      };
    case MessageType.UPDATE_REQUEST:
      return {
        kind: 'update-request',
        incremental: b[1] !== 0,
        x: b.readUInt16BE(2),
        y: b.readUInt16BE(4),
        width: b.readUInt16BE(6),
        height: b.readUInt16BE(8),
      };
    case MessageType.KEY:
      return { kind: 'key', down: b[1] !== 0, keysym: b.readUInt32BE(4), code: undefined };
    case MessageType.POINTER:
      return { kind: 'pointer', buttons: b[1], x: b.readUInt16BE(2), y: b.readUInt16BE(4) };
    case MessageType.CUT_TEXT: {
      // Negative: the extended clipboard, which is not offered.
      const bytes = Math.abs(b.readInt32BE(4));
      if (bytes > CUT_TEXT_MAX) throw new VmError(`${bytes} bytes of text`);
      return { kind: 'skip', bytes };
    }
    default:
      return {
        kind: 'key',
        down: b.readUInt16BE(2) !== 0,
        keysym: b.readUInt32BE(4),
        code: b.readUInt32BE(8),
      };
  }
}

function pixelFormat(b: Buffer): PixelFormat {
  const bits = b[0];
  if (bits !== 8 && bits !== 16 && bits !== 32) throw new VmError(`${bits} bits a pixel`);
  const format: PixelFormat = {
    bitsPerPixel: bits,
    depth: b[1],
    bigEndian: b[2] !== 0,
    trueColor: b[3] !== 0,
    redMax: b.readUInt16BE(4),
    greenMax: b.readUInt16BE(6),
    blueMax: b.readUInt16BE(8),
    redShift: b[10],
    greenShift: b[11],
    blueShift: b[12],
  };
  if (!format.trueColor) throw new VmError('a colour map is not supported');
  const fits = (max: number, shift: number) =>
    max > 0 && (max & (max + 1)) === 0 && max * 2 ** shift < 2 ** bits && max <= 0xff;
  const all =
    fits(format.redMax, format.redShift) &&
    fits(format.greenMax, format.greenShift) &&
    fits(format.blueMax, format.blueShift);
  if (!all) throw new VmError(`colours do not fit ${bits} bits`);
  return format;
}

/** 0x00RRGGBB, as surfaces have it. */
export const ownFormat: PixelFormat = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: false,
  trueColor: true,
  redMax: 255,
  greenMax: 255,
  blueMax: 255,
  redShift: 16,
  greenShift: 8,
  blueShift: 0,
};

export function encodePixelFormat(f: PixelFormat): Buffer {
  const b = Buffer.alloc(16);
  b.set([f.bitsPerPixel, f.depth, f.bigEndian ? 1 : 0, f.trueColor ? 1 : 0]);
  b.writeUInt16BE(f.redMax, 4);
  b.writeUInt16BE(f.greenMax, 6);
  b.writeUInt16BE(f.blueMax, 8);
  b.set([f.redShift, f.greenShift, f.blueShift], 10);
  return b;
}
