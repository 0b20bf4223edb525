/**
 * What the two sides say to each other. Ordinals 0..7 are QEMU's COLOMessage, bare, big-endian,
 * `vmstate-size` with a u64 behind it; ours start at 64. One table gives limits and direction;
 * types, encoding and the checks of untrusted bodies stand beside it.
 */
import { VmError, assertNever } from '../base/errors.js';
import { bool, list, record, text, u32, u53, u64 } from '../fields/field.js';
import { type FrameKind, encodeFrame } from '../migration/frames.js';
import type { MessageCodec } from '../migration/link.js';
import {
  type CommonMessage,
  type CommonType,
  commonBody,
  commonKinds,
  decodeCommon,
  pieceBytes,
} from '../migration/messages.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { decodePeerRecordBytes, encodePeerRecord } from '../migration/standing.js';
import type { ColoMode } from '../qapi/types.js';

const disksMax = 64;
const recordBytesMax = 4096;
/** Bytes of a sentence. */
const wordsMax = 1024;

const epochBody = record({
  epoch: u53,
  pages: u32,
  writes: list(record({ disk: text(256), count: u53 }), disksMax),
  ramHashed: bool,
  ramHash: u64,
});
const copyingBody = record({ pages: u32 });
const pingBody = record({ seq: u53 });
const digestRequest = record({ disk: text(256) });
const wordsBody = record({ text: text(wordsMax) });
const digestSize = record({ disk: text(256), vouched: bool, size: u53 });

export interface EpochInfo {
  epoch: number;
  /** Pages that were sent for it. */
  pages: number;
  /** Writes that the replica has acknowledged since the last commit. */
  writes: { disk: string; count: number }[];
  ramHashed: boolean;
  ramHash: bigint;
}

type Bare =
  | 'checkpoint-ready'
  | 'checkpoint-request'
  | 'checkpoint-reply'
  | 'vmstate-send'
  | 'vmstate-received'
  | 'vmstate-loaded'
  | 'guest-shutdown';
type Empty =
  | 'who-runs'
  | 'follows'
  | 'precopy-end'
  | 'abort-epoch'
  | 'stop-request'
  | 'stopped'
  | 'going-alone'
  | 'alone-noted';
/** Last words: the sender has given its guest up for good. */
type LastWords = 'leaving' | 'ended';
const isCommon = (type: MessageType): type is CommonType => Object.hasOwn(commonKinds, type);

export type Message =
  | CommonMessage
  | { type: Bare | Empty }
  /** Length of the device state that follows in blob pieces. */
  | { type: 'vmstate-size'; size: number }
  | ({ type: 'epoch' } & EpochInfo)
  /** Before vmstate-send: nothing can be said until so many pages are copied. */
  | { type: 'copying'; pages: number }
  | { type: 'ping' | 'pong'; seq: number }
  | { type: LastWords; text: string }
  | { type: 'digest-request'; disk: string }
  | { type: 'digest-size'; disk: string; vouched: boolean; size: number }
  | { type: 'digest'; bytes: Buffer }
  /** The branch that both sides will be on. */
  | { type: 'record'; record: PairRecord }
  /** Instead of accept: the side that was a secondary runs the guest. */
  | { type: 'superseded'; record: PairRecord | undefined };
export type MessageType = Message['type'];

interface ColoKind extends FrameKind<MessageType> {
  /** Who sends it. */
  readonly from: 'primary' | 'secondary' | 'both';
}
const kind = (
  ordinal: number,
  name: MessageType,
  from: ColoKind['from'],
  bytes: number,
): ColoKind => ({ ordinal, name, from, bytes });

/** bytes: exact for the bare ones, a bound for ours. */
export const messageKinds: readonly ColoKind[] = [
  kind(0, 'checkpoint-ready', 'secondary', 0),
  kind(1, 'checkpoint-request', 'primary', 0),
  kind(2, 'checkpoint-reply', 'secondary', 0),
  kind(3, 'vmstate-send', 'primary', 0),
  kind(4, 'vmstate-size', 'primary', 8),
  kind(5, 'vmstate-received', 'secondary', 0),
  kind(6, 'vmstate-loaded', 'secondary', 0),
  kind(7, 'guest-shutdown', 'primary', 0),
  ...Object.values(commonKinds).map(({ ordinal, name, from, bytes }) =>
    kind(
      ordinal,
      name,
      from === 'source' ? 'primary' : from === 'destination' ? 'secondary' : from,
      bytes,
    ),
  ),
  kind(69, 'precopy-end', 'primary', 0),
  kind(70, 'epoch', 'primary', 64 + disksMax * 272),
  kind(72, 'abort-epoch', 'primary', 0),
  kind(73, 'ping', 'primary', 8),
  kind(74, 'pong', 'secondary', 8),
  kind(75, 'stop-request', 'secondary', 0),
  kind(76, 'stopped', 'primary', 0),
  kind(77, 'going-alone', 'primary', 0),
  kind(78, 'digest-request', 'primary', 260),
  kind(79, 'digest-size', 'secondary', 288),
  kind(80, 'digest', 'secondary', pieceBytes),
  kind(81, 'leaving', 'secondary', wordsMax + 4),
  kind(82, 'alone-noted', 'secondary', 0),
  kind(83, 'ended', 'primary', wordsMax + 4),
  kind(84, 'copying', 'primary', 4),
  kind(90, 'record', 'primary', recordBytesMax),
  kind(91, 'superseded', 'secondary', recordBytesMax),
  kind(92, 'who-runs', 'primary', 0),
  kind(93, 'follows', 'secondary', 0),
];
const byName = new Map(messageKinds.map(k => [k.name, k]));
export const kindOf = (type: MessageType): FrameKind => byName.get(type)!;

/** The codec of one side: it takes only what the other side may send. */
export function codecOf(side: Exclude<ColoMode, 'none'>): MessageCodec<Message> {
  return { takes: messageKinds.filter(k => k.from !== side), encode, decode };
}

function encode(message: Message): Buffer {
  return encodeFrame(kindOf(message.type), bodyOf(message));
}

function bodyOf(m: Message): Buffer {
  switch (m.type) {
    case 'vmstate-size': {
      const body = Buffer.alloc(8);
      body.writeBigUInt64BE(BigInt(m.size));
      return body;
    }
    case 'hello':
    case 'accept':
    case 'error':
    case 'pages':
    case 'blob':
      return commonBody(m);
    case 'record':
    case 'superseded':
      return encodePeerRecord(m.record);
    case 'digest':
      return m.bytes;
    case 'epoch':
      return epochBody.encode(m);
    case 'copying':
      return copyingBody.encode(m);
    case 'ping':
    case 'pong':
      return pingBody.encode(m);
    case 'digest-request':
      return digestRequest.encode(m);
    case 'leaving':
    case 'ended':
      return wordsBody.encode({ text: m.text.slice(0, wordsMax / 3) });
    case 'digest-size':
      return digestSize.encode(m);
    default:
      return Buffer.alloc(0);
  }
}

function decode(frame: FrameKind, body: Buffer): Message {
  try {
    const type = (frame as ColoKind).name;
    return isCommon(type) ? decodeCommon(type, body) : decodeBody(type, body);
  } catch (error) {
    throw error instanceof VmError ? error.during(frame.name) : error;
  }
}

function decodeBody(type: Exclude<MessageType, CommonType>, body: Buffer): Message {
  switch (type) {
    case 'vmstate-size':
      return { type, size: record({ size: u53 }).decode(body).size };
    case 'digest':
      return { type, bytes: body };
    case 'epoch':
      return { type, ...epochBody.decode(body) };
    case 'copying':
      return { type, ...copyingBody.decode(body) };
    case 'ping':
    case 'pong':
      return { type, ...pingBody.decode(body) };
    case 'digest-request':
      return { type, ...digestRequest.decode(body) };
    case 'leaving':
    case 'ended':
      return { type, ...wordsBody.decode(body) };
    case 'digest-size':
      return { type, ...digestSize.decode(body) };
    case 'record': {
      const found = decodePeerRecordBytes(body);
      if (!found) throw new VmError('it is empty');
      return { type, record: found };
    }
    case 'superseded':
      return { type, record: decodePeerRecordBytes(body) };
    case 'checkpoint-ready':
    case 'checkpoint-request':
    case 'checkpoint-reply':
    case 'vmstate-send':
    case 'vmstate-received':
    case 'vmstate-loaded':
    case 'guest-shutdown':
    case 'who-runs':
    case 'follows':
    case 'precopy-end':
    case 'abort-epoch':
    case 'stop-request':
    case 'stopped':
    case 'going-alone':
    case 'alone-noted':
      return { type };
    default:
      return assertNever(type);
  }
}
