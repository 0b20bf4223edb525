/**
 * What the two ends of a migration say to each other, and what a state file holds. COLO's words
 * stand on these (colo/messages.ts). A file cannot answer: there `accept`, `loaded` and `started`
 * are left out, and `go` is its end mark.
 */
import { VmError, assertNever } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { bool, record, text, u53 } from '../fields/field.js';
import { type FrameKind, encodeFrame } from './frames.js';
import type { MessageCodec } from './link.js';
import { type Hello, decodeHello, encodeHello, helloBytesMax } from './manifest.js';
import { chunkBytesMax } from './pages.js';
import {
  decodeStandings,
  type DiskStanding,
  encodeStandings,
  standingsBytesMax,
} from './standing.js';

/** Device state travels in pieces of at most this. */
export const pieceBytes = 1024 * 1024;
const textMax = 1024;

const textBody = record({ text: text(textMax) });
const stateBody = record({ size: u53, pages: u53, ran: bool });

/** COLO says these too. */
export type CommonMessage =
  | { type: 'round-end' }
  /** disks: of a secondary, what its images know. */
  | { type: 'accept'; disks?: DiskStanding[] }
  | { type: 'hello'; hello: Hello }
  /** The sender gives up, and why. */
  | { type: 'error'; text: string }
  | { type: 'pages'; body: Buffer }
  | { type: 'blob'; bytes: Buffer };
export type CommonType = CommonMessage['type'];

export type TransferMessage =
  | CommonMessage
  /** loaded: all is here and checked. go: the guest is yours. started: it is mine. */
  | { type: 'loaded' | 'go' | 'started' }
  /**
   * size bytes of device state follow in blobs; so many pages went before, in all rounds. ran: the
   * guest was running.
   */
  | { type: 'device-state'; size: number; pages: number; ran: boolean };
type TransferType = TransferMessage['type'];

export interface TransferKind<N extends TransferType = TransferType> extends FrameKind<N> {
  readonly from: 'source' | 'destination' | 'both';
}
const kind = <N extends TransferType>(
  ordinal: number,
  name: N,
  from: TransferKind['from'],
  bytes: number,
): TransferKind<N> => ({ ordinal, name, from, bytes });

export const commonKinds = {
  hello: kind(64, 'hello', 'source', helloBytesMax),
  accept: kind(65, 'accept', 'destination', standingsBytesMax),
  error: kind(66, 'error', 'both', textMax + 4),
  pages: kind(67, 'pages', 'source', chunkBytesMax),
  'round-end': kind(68, 'round-end', 'source', 0),
  blob: kind(71, 'blob', 'source', pieceBytes),
} satisfies { [N in CommonType]: TransferKind<N> };

export const transferKinds = {
  ...commonKinds,
  'device-state': kind(96, 'device-state', 'source', 17),
  loaded: kind(97, 'loaded', 'destination', 0),
  go: kind(98, 'go', 'source', 0),
  started: kind(99, 'started', 'destination', 0),
} satisfies { [N in TransferType]: TransferKind<N> };

/** One end takes only what the other may send. */
export function transferCodec(side: 'source' | 'destination'): MessageCodec<TransferMessage> {
  return {
    takes: Object.values(transferKinds).filter(k => k.from !== side),
    encode: message =>
      encodeFrame(
        transferKinds[message.type],
        message.type === 'device-state' ? stateBody.encode(message) : commonBody(message),
      ),
    decode: (frame, body) => decodeTransfer(frame.name as TransferType, body),
  };
}

export function commonBody(m: CommonMessage | { type: 'loaded' | 'go' | 'started' }): Buffer {
  switch (m.type) {
    case 'hello':
      return encodeHello(m.hello);
    case 'accept':
      return m.disks ? encodeStandings(m.disks) : Buffer.alloc(0);
    case 'error':
      return textBody.encode({ text: m.text.slice(0, textMax / 3) });
    case 'pages':
      return m.body;
    case 'blob':
      return m.bytes;
    default:
      return Buffer.alloc(0);
  }
}

/** Untrusted body. */
export function decodeCommon(type: CommonType, body: Buffer): CommonMessage {
  switch (type) {
    case 'hello':
      return { type, hello: decodeHello(body) };
    case 'error':
      return { type, text: printable(textBody.decode(body).text) };
    case 'pages':
      return { type, body };
    case 'blob':
      return { type, bytes: body };
    case 'accept':
      return body.length === 0 ? { type } : { type, disks: decodeStandings(body) };
    case 'round-end':
      return { type };
    default:
      return assertNever(type);
  }
}

function decodeTransfer(type: TransferType, body: Buffer): TransferMessage {
  try {
    switch (type) {
      case 'device-state':
        return { type, ...stateBody.decode(body) };
      case 'loaded':
      case 'go':
      case 'started':
        return { type };
      default:
        return decodeCommon(type, body);
    }
  } catch (error) {
    throw error instanceof VmError ? error.during(type) : error;
  }
}

/** Joins pieces to exactly size bytes. */
export async function receivePieces(size: number, next: () => Promise<Buffer>): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(size);
  for (let at = 0; at < size;) {
    const piece = await next();
    if (piece.length === 0 || at + piece.length > size)
      throw new VmError(`a piece of ${piece.length} bytes where ${size - at} are left`);
    at += piece.copy(whole, at);
  }
  return whole;
}
