/**
 * What the two sides say to each other. Ordinals 0..7 are QEMU's COLOMessage, bare, big-endian,
 * `vmstate-size` with a u64 behind it; ours start at 64. One table: type, limits, direction,
 * encoding and the checks of untrusted bodies follow from it.
 */
import { VmError } from '../base/errors.js';
import {
  type Of,
  bool8,
  bytes,
  counted,
  record,
  text,
  u16,
  u32,
  u53,
  u64,
} from '../fields/field.js';
import type { FrameKind } from '../migration/frames.js';
import {
  type Body,
  type MessageKind,
  type MessageOf,
  codecOfTable,
  fields,
  kind,
  kindTable,
  noBody,
  raw,
  sentence,
} from '../migration/kinds.js';
import type { MessageCodec } from '../migration/link.js';
import { type MigrationSide, commonKinds, PIECE_BYTES } from '../migration/messages.js';
import { packedBytesMax } from '../migration/packed-pages.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { decodePeerRecordBytes, encodePeerRecord } from '../migration/standing.js';
import type { ColoMode } from '../qapi/types.js';
import { HEARTBEAT_INTERVAL_MAX_MS } from './options.js';

export type ColoSide = Exclude<ColoMode, 'none'>;

const DISKS_MAX = 64;
const RECORD_BYTES_MAX = 4096;
const HOLDER_BYTES_MAX = 128;
const diskName = text(256);

const epochBody = record({
  epoch: u53,
  /** Pages that were sent for it. */
  pages: u32,
  /** Writes that the replica has acknowledged since the last commit. */
  writes: counted(record({ disk: diskName, count: u53 }), DISKS_MAX),
  ramHashed: bool8,
  ramHash: u64,
  /** It has shut down: whoever takes over ends it instead of running it. */
  guestOver: bool8,
});
export type EpochInfo = Of<typeof epochBody>;
const seq = fields(record({ seq: u53 }));
const interval = u32.range(1, HEARTBEAT_INTERVAL_MAX_MS);
const sizedDisk = record({ disk: diskName, size: u53 });
const digestSize = record({ disk: diskName, vouched: bool8, size: u53 });

const recordBody: Body<{ record: PairRecord }> = {
  bytes: RECORD_BYTES_MAX,
  encode: value => encodePeerRecord(value.record),
  decode(body) {
    const found = decodePeerRecordBytes(body);
    if (!found) throw new VmError('it is empty');
    return { record: found };
  },
};
const supersededBody: Body<{ record: PairRecord | undefined }> = {
  bytes: RECORD_BYTES_MAX,
  encode: value => encodePeerRecord(value.record),
  decode: body => ({ record: decodePeerRecordBytes(body) }),
};

const pairSides = { source: 'primary', destination: 'secondary', both: 'both' } as const;
type Common = typeof commonKinds;
type AsPair = {
  readonly [N in keyof Common]: Omit<Common[N], 'from'> & { readonly from: ColoSide | 'both' };
};
/** The primary is the source of what both kinds of migration say. */
const asPair = Object.fromEntries(
  Object.entries<MessageKind<MigrationSide>>(commonKinds).map(([name, its]) => [
    name,
    { ...its, from: pairSides[its.from] },
  ]),
) as AsPair;

const table = kindTable({
  'checkpoint-ready': kind(0, 'secondary', noBody),
  'checkpoint-request': kind(1, 'primary', noBody),
  'checkpoint-reply': kind(2, 'secondary', noBody),
  'vmstate-send': kind(3, 'primary', noBody),
  /** Length of the device state that follows in blob pieces. */
  'vmstate-size': kind(4, 'primary', fields(record({ size: u53 }))),
  'vmstate-received': kind(5, 'secondary', noBody),
  'vmstate-loaded': kind(6, 'secondary', noBody),
  'guest-shutdown': kind(7, 'primary', noBody),
  ...asPair,
  'precopy-end': kind(69, 'primary', noBody),
  epoch: kind(70, 'primary', fields(epochBody, 64 + DISKS_MAX * 272)),
  'abort-epoch': kind(72, 'primary', noBody),
  ping: kind(73, 'primary', seq),
  pong: kind(74, 'secondary', seq),
  'stop-request': kind(75, 'secondary', noBody),
  stopped: kind(76, 'primary', noBody),
  'going-alone': kind(77, 'primary', noBody),
  'digest-request': kind(78, 'primary', fields(record({ disk: diskName }), 260)),
  'digest-size': kind(79, 'secondary', fields(digestSize, 288)),
  digest: kind(80, 'secondary', raw('bytes', PIECE_BYTES)),
  /**
   * The last message, like `ended`: the sender has given its guest up and will not run it again.
   */
  leaving: kind(81, 'secondary', sentence),
  /** The replica is out of step: it gives its right up, and answers `leaving`. */
  dropped: kind(114, 'primary', sentence),
  'alone-noted': kind(82, 'secondary', noBody),
  ended: kind(83, 'primary', sentence),
  /** Before vmstate-send: nothing can be said until so many pages are copied. */
  copying: kind(84, 'primary', fields(record({ pages: u32 }))),
  /** The branch that both sides will be on. */
  record: kind(90, 'primary', recordBody),
  /** Instead of accept: the side that was a secondary runs the guest. */
  superseded: kind(91, 'secondary', supersededBody),
  'who-runs': kind(92, 'primary', noBody),
  follows: kind(93, 'secondary', noBody),
  /**
   * The last epoch is loaded there, this guest stands still, and nothing of it leaves any more: the
   * secondary is to take over. Only its answer, or an arbiter's, has the guest go on here. run:
   * false: a user has stopped the guest, and it stands still there, too.
   */
  'hand-over': kind(94, 'primary', fields(record({ run: bool8 }))),
  /** The secondary would leave, and keeps its right until it hears `going-alone`. */
  'leave-request': kind(95, 'secondary', noBody),
  /** It may not, for this reason: all stays as it is. */
  'leave-refused': kind(96, 'primary', sentence),
  /** Signs of life beside the connection: what both seal them with, and each how often. */
  'heartbeat-key': kind(110, 'primary', fields(record({ key: bytes(16), ms: interval }))),
  /** Where the secondary hears them. */
  'heartbeat-port': kind(
    111,
    'secondary',
    fields(record({ port: u16.range(1, 0xffff), ms: interval })),
  ),
  /** Which process the primary is, for a secondary on the same host. */
  process: kind(
    113,
    'primary',
    fields(record({ holder: text(HOLDER_BYTES_MAX) }), HOLDER_BYTES_MAX + 4),
  ),
  'heartbeat-interval': kind(112, 'both', fields(record({ ms: interval }))),
  /** Before accept, to a primary that can pack: it may. */
  'takes-packed': kind(115, 'secondary', noBody),
  /** As `pages`, of a checkpoint only: what the secondary's RAM holds is counted from. */
  'packed-pages': kind(116, 'primary', raw('body', packedBytesMax)),
  /** The primary's marks of a disk follow in pieces; the answer is a digest of what is marked. */
  marks: kind(100, 'primary', fields(sizedDisk, 288)),
  'marks-piece': kind(101, 'primary', raw('bytes', PIECE_BYTES)),
  /** Before `record`: the bitmaps of both sides count from this point. */
  'common-point': kind(102, 'primary', fields(record({ id: bytes(16) }))),
});
export type Message = MessageOf<typeof table>;
export type MessageType = Message['type'];

export const messageKinds: readonly MessageKind<ColoSide, MessageType>[] = Object.values(table);
export const kindOf = (type: MessageType): FrameKind => table[type];

/** The codec of one side: it takes only what the other side may send. */
export const codecOf = (side: ColoSide): MessageCodec<Message> => codecOfTable(table, side);
