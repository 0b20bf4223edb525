/**
 * What the two sides say to each other. Ordinals 0..7 are QEMU's COLOMessage, bare, big-endian,
 * `vmstate-size` with a u64 behind it; ours start at 64. One table: type, limits, direction,
 * encoding and the checks of untrusted bodies follow from it.
 */
import { VmError } from '../base/errors.js';
import { type Of, bool, list, record, text, u32, u53, u64 } from '../fields/field.js';
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
import { type MigrationSide, commonKinds, pieceBytes } from '../migration/messages.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { decodePeerRecordBytes, encodePeerRecord } from '../migration/standing.js';
import type { ColoMode } from '../qapi/types.js';

export type ColoSide = Exclude<ColoMode, 'none'>;

const disksMax = 64;
const recordBytesMax = 4096;
const diskName = text(256);

const epochBody = record({
  epoch: u53,
  /** Pages that were sent for it. */
  pages: u32,
  /** Writes that the replica has acknowledged since the last commit. */
  writes: list(record({ disk: diskName, count: u53 }), disksMax),
  ramHashed: bool,
  ramHash: u64,
});
export type EpochInfo = Of<typeof epochBody>;
const seq = fields(record({ seq: u53 }));
const digestSize = record({ disk: diskName, vouched: bool, size: u53 });

const recordBody: Body<{ record: PairRecord }> = {
  bytes: recordBytesMax,
  encode: value => encodePeerRecord(value.record),
  decode(body) {
    const found = decodePeerRecordBytes(body);
    if (!found) throw new VmError('it is empty');
    return { record: found };
  },
};
const supersededBody: Body<{ record: PairRecord | undefined }> = {
  bytes: recordBytesMax,
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
  epoch: kind(70, 'primary', fields(epochBody, 64 + disksMax * 272)),
  'abort-epoch': kind(72, 'primary', noBody),
  ping: kind(73, 'primary', seq),
  pong: kind(74, 'secondary', seq),
  'stop-request': kind(75, 'secondary', noBody),
  stopped: kind(76, 'primary', noBody),
  'going-alone': kind(77, 'primary', noBody),
  'digest-request': kind(78, 'primary', fields(record({ disk: diskName }), 260)),
  'digest-size': kind(79, 'secondary', fields(digestSize, 288)),
  digest: kind(80, 'secondary', raw('bytes', pieceBytes)),
  /** Last words, as `ended`: the sender has given its guest up for good. */
  leaving: kind(81, 'secondary', sentence),
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
});
export type Message = MessageOf<typeof table>;
export type MessageType = Message['type'];

export const messageKinds: readonly MessageKind<ColoSide, MessageType>[] = Object.values(table);
export const kindOf = (type: MessageType): FrameKind => table[type];

/** The codec of one side: it takes only what the other side may send. */
export const codecOf = (side: ColoSide): MessageCodec<Message> => codecOfTable(table, side);
