/**
 * Streams of a migration to be spoiled: what each side of a good one said, cut into its frames, and
 * what a hostile peer makes of them. Lengths and checksums are right afterwards, so that what is
 * wrong reaches the messages themselves.
 */
import { messageKinds } from '../../../src/colo/messages.js';
import {
  FrameDecoder,
  type FrameKind,
  encodeFrame,
  encodeStreamHeader,
  FIRST_OWN_ORDINAL,
} from '../../../src/migration/frames.js';
import { transferKinds } from '../../../src/migration/messages.js';
import { CHUNK_PAGES_MAX } from '../../../src/migration/pages.js';
import { Pair } from '../../sim/pair.js';
import { ports } from '../../sim/command-line.js';
import { mutated } from '../../support/mutated.js';
import type { Random } from '../../support/random.js';

export interface Frame {
  readonly kind: FrameKind;
  readonly body: Buffer;
}
export type Mode = 'colo' | 'plain';
export interface Conversation {
  /** Of the primary or source, and of the other side. */
  readonly P: readonly Frame[];
  readonly S: readonly Frame[];
}

const kindsOf: Record<Mode, readonly FrameKind[]> = {
  colo: messageKinds,
  plain: Object.values(transferKinds),
};

const known = new Map<string, Promise<Conversation>>();

/** A pair without misfortunes, recorded once. */
export function recorded(mode: Mode, disks: number): Promise<Conversation> {
  const name = `${mode} ${disks}`;
  let conversation = known.get(name);
  if (!conversation) known.set(name, (conversation = record(mode, disks)));
  return conversation;
}

async function record(mode: Mode, disks: number): Promise<Conversation> {
  const pair = await Pair.create(
    { seed: 9, misfortunes: [], disks },
    // Few messages: whoever plays them again waits for no answer.
    { options: { verifyRam: false, chunkPages: CHUNK_PAGES_MAX } },
  );
  const { network, primary, secondary, world, history } = pair;
  history.speaks = () => undefined;
  pair.later = () => undefined;
  const said: Record<string, Uint8Array[]> = { P: [], S: [] };
  network.onWrite = ({ from, port }, bytes) => {
    if (port === ports.migration) said[from].push(bytes);
  };
  for (const side of [primary, secondary]) {
    await side.useColo(mode === 'colo');
  }
  void primary.start();
  await secondary.listenForPrimary();
  if (mode === 'plain') primary.colo.migrate('tcp:s:8888');
  else primary.protect().catch(() => undefined);
  const done = () =>
    mode === 'colo'
      ? (primary.colo.info().statistics?.done ?? 0) >= 3
      : primary.colo.query().status === 'completed';
  for (let ms = 0; ms < 2000 && !done(); ms += 5) await world.run(world.now + 5);
  if (!done()) throw new Error(`no good stream of ${mode}: ${world.failures.join(', ')}`);
  return { P: cut(said['P'], mode), S: cut(said['S'], mode) };
}

function cut(said: readonly Uint8Array[], mode: Mode): Frame[] {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder(kindsOf[mode], (kind, body) => frames.push({ kind, body }));
  for (const bytes of said) decoder.push(bytes);
  return frames;
}

/** The bytes that a peer says: the header, then the frames. */
export const wire = (frames: readonly Frame[]): Buffer =>
  Buffer.concat([encodeStreamHeader(), ...frames.map(encoded)]);

function encoded({ kind, body }: Frame): Buffer {
  if (kind.ordinal >= FIRST_OWN_ORDINAL) return encodeFrame({ ...kind, bytes: 2 ** 31 }, body);
  return encodeFrame({ ...kind, bytes: body.length }, body);
}

/** One to three changes, of one frame, of their order, or of what is there at all. */
export function spoiled(frames: readonly Frame[], mode: Mode, random: Random): Frame[] {
  const out = [...frames];
  for (let n = random.below(3); n >= 0 && out.length > 0; n--) change(out, mode, random);
  return out;
}

function change(frames: Frame[], mode: Mode, random: Random): void {
  const at = random.below(frames.length);
  const frame = frames[at];
  switch (random.below(10)) {
    case 0:
      frames.splice(at, 1);
      return;
    case 1:
      frames.splice(random.below(frames.length), 0, frame);
      return;
    case 2:
      frames.splice(random.below(frames.length), 0, ...frames.splice(at, 1));
      return;
    case 3:
      frames.splice(at, 0, { kind: random.pick(kindsOf[mode]), body: frame.body });
      return;
    case 4:
      frames.splice(at, 1 + random.below(frames.length - at));
      return;
    case 5:
      for (let n = random.below(80); n >= 0; n--) frames.splice(at, 0, frame);
      return;
    default:
      frames[at] = { kind: frame.kind, body: spoiledBody(frame.body, random) };
  }
}

const numbers = [
  0n,
  1n,
  255n,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 64n - 1n,
];

/** Numbers that say what follows stand here. */
const front = 24;

function spoiledBody(body: Buffer, random: Random): Buffer {
  switch (random.below(6)) {
    case 0:
      return body.subarray(0, random.below(body.length + 1));
    case 1:
      return Buffer.concat([body, Buffer.alloc(1 + random.below(64), random.below(256))]);
    case 2:
      return spoiledNumber(body, random);
    case 3:
      return spoiledText(body, random);
    case 4:
      return Buffer.concat([mutated(body.subarray(0, front), random), body.subarray(front)]);
    default:
      return mutated(body, random);
  }
}

function spoiledNumber(body: Buffer, random: Random): Buffer {
  const changed = Buffer.from(body);
  const number = random.pick(numbers);
  const wide = random.chance(0.5);
  const at = random.chance(0.7) ? 4 * random.below(front / 4) : random.below(body.length + 1);
  if (at + (wide ? 8 : 4) > body.length) return changed;
  if (wide) changed.writeBigUInt64BE(number, at);
  else changed.writeUInt32BE(Number(number & 0xffff_ffffn), at);
  return changed;
}

const words = [
  'null',
  '-1',
  '1e400',
  '{}',
  '[]',
  '""',
  'true',
  '"__proto__":1,',
  '\\u0000',
  '9'.repeat(30),
];

/** JSON has its own ways to be wrong. */
function spoiledText(body: Buffer, random: Random): Buffer {
  const text = body.toString('latin1');
  const at = random.below(text.length + 1);
  const end = Math.min(text.length, at + random.below(12));
  return Buffer.from(text.slice(0, at) + random.pick(words) + text.slice(end), 'latin1');
}
