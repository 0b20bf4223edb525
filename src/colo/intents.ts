/**
 * The bitmaps of both sides (block/record/image-bitmap.ts) on their way into COLO. Where both count
 * from one point, only what one of them has marked is compared. Then the primary takes over all
 * marks, names a new point, and the secondary begins to count from that with none: whatever comes
 * later, one of both has it marked, durably.
 */
import { createHash } from 'node:crypto';
import { asVmError, VmError } from '../base/errors.js';
import type {
  PointOfPair,
  PrimaryDisk,
  SecondaryDisk,
  SyncDifference,
} from '../block/contract/replicated.js';
import type { IntentStanding } from '../block/record/image-bitmap.js';
import type { PairRecord } from '../block/record/pair-record.js';
import type { Regions } from '../block/record/regions.js';
import type { Link } from '../migration/link.js';
import { PIECE_BYTES, receivePieces } from '../migration/messages.js';
import type { DiskStanding } from '../migration/standing.js';
import type { DiskSync } from './disk-sync.js';
import { sendAnswer } from './disks.js';
import type { PairIdentity } from './identity.js';
import type { Message } from './messages.js';
import type { ColoOptions } from './options.js';

/** More than there are bits for the regions of any disk. */
const MARKS_BYTES_MAX = 64 * 1024;

/** What is known of a disk before its replica is written. */
export interface ComparedDisk {
  readonly disk: PrimaryDisk;
  /** Where it may differ from its replica. */
  readonly marks: Regions;
  /** The point that both bitmaps count from, by its name. */
  readonly former?: string;
}

/** The name of the point that both sides count from; or why every byte has to be compared. */
export function sharedPoint(
  disk: PrimaryDisk,
  theirs: readonly DiskStanding[],
): { base: string } | { why: string } {
  const ours = disk.intents.standing();
  const peer = theirs.find(({ disk: name, bitmap }) => name === disk.name && bitmap)?.bitmap;
  if ('why' in ours) return { why: `here, ${ours.why}` };
  if (!peer) return { why: 'the secondary keeps no bitmap' };
  if ('why' in peer) return { why: `at the secondary, ${peer.why}` };
  const base = ours.bases.find(id => peer.bases.includes(id));
  return base === undefined
    ? { why: 'the bitmaps of both sides have no point in common' }
    : { base };
}

/** undefined: the secondary's user vouches for this disk. */
export async function askMarked(
  disk: PrimaryDisk,
  link: Link<Message>,
  options: ColoOptions,
  receive: (sizeMax: number) => Promise<Buffer | undefined>,
  progress: (doneBytes: number, totalBytes: number) => void,
): Promise<SyncDifference | undefined> {
  const sent = disk.intents.marked();
  const bits = sent.encode();
  await link.send({ type: 'marks', disk: disk.name, size: bits.length });
  for (let at = 0; at < bits.length; at += PIECE_BYTES)
    await link.send({ type: 'marks-piece', bytes: bits.subarray(at, at + PIECE_BYTES) });
  const answer = await receive(disk.intents.answerBytesMax);
  if (!answer) return undefined;
  const comparing = disk.intents.compare(sent, answer, progress);
  return link.guard(comparing, `comparing disk '${disk.name}'`, options.syncTimeoutMs);
}

/** Secondary: answers the primary's marks of one disk. */
export async function answerMarks(
  disks: readonly SecondaryDisk[],
  { disk: name, size }: { disk: string; size: number },
  link: Link<Message>,
  options: ColoOptions,
  sync: DiskSync,
): Promise<void> {
  if (size > MARKS_BYTES_MAX) throw new VmError(`marks of disk '${name}' with ${size} bytes`);
  const piece = async () => (await link.expect('marks-piece', options.replyTimeoutMs)).bytes;
  const sent = await receivePieces(size, piece);
  await sendAnswer(disks, name, link, options, disk =>
    disk.intents.answer(sent, (done, total) => sync.progress('digest', disk, done, total)),
  );
}

export interface BindContext {
  readonly link: Link<Message>;
  readonly options: ColoOptions;
  readonly identity: PairIdentity;
  readonly theirs: readonly DiskStanding[];
  report(line: string): void;
}

/** Primary, before the secondary hears of the record. Without bitmaps the pair is as good. */
export async function bindAll(
  disks: readonly ComparedDisk[],
  record: PairRecord,
  { link, options, identity, theirs, report }: BindContext,
): Promise<void> {
  const session = identity.fresh();
  let bound = disks.length > 0;
  for (const { disk, marks, former } of disks) {
    const point = pointOf(disk, record, session);
    const binding = disk.intents
      .bind({ ...point, ...(former && { former }) }, marks)
      .catch((error: unknown) => {
        bound = false;
        report(noBitmap(disk.name, error));
      });
    await link.guard(binding, `the bitmap of disk '${disk.name}'`, options.syncTimeoutMs);
  }
  const asked = disks.every(({ disk }) =>
    theirs.some(({ disk: name, bitmap }) => name === disk.name && bitmap),
  );
  if (bound && asked) await link.send({ type: 'common-point', id: Buffer.from(session, 'hex') });
}

/** Secondary: the record is written, and nothing has come to the disks yet. */
export async function adoptAll(
  disks: readonly SecondaryDisk[],
  record: PairRecord,
  session: string,
  report: (line: string) => void,
): Promise<void> {
  for (const disk of disks) {
    const adopted = disk.intents.adopt(pointOf(disk, record, session));
    await adopted.catch((error: unknown) => report(noBitmap(disk.name, error)));
  }
}

/** Each disk has one of its own: images that changed places have nothing in common. */
function pointOf({ name }: { name: string }, record: PairRecord, session: string): PointOfPair {
  const { pair, branch, generation } = record;
  const id = createHash('sha256').update(`${session} ${name}`).digest('hex').slice(0, 32);
  return { pair, base: { id, branch, generation } };
}

function noBitmap(disk: string, error: unknown): string {
  const { message } = asVmError(error);
  return `disk '${disk}' has no bitmap: ${message}; the next rejoin compares it whole`;
}

/** For the primary: what the secondary's bitmaps are worth. */
export function withBitmaps(
  standings: readonly DiskStanding[],
  disks: readonly SecondaryDisk[],
): DiskStanding[] {
  return standings.map(standing => {
    const disk = disks.find(({ name }) => name === standing.disk);
    const bitmap: IntentStanding = disk?.intents.standing() ?? { why: 'it is not replicated' };
    return { ...standing, bitmap };
  });
}
