/**
 * The primary, before replication starts (rule 10): every disk is known to be equal to its replica,
 * or becomes so in the direction that the records of both, or the user, allow (record.ts).
 */
import { VmError } from '../base/errors.js';
import type { PrimaryDisk, SyncDifference } from '../block/contract/replicated.js';
import type { Link } from '../migration/link.js';
import { receivePieces } from '../migration/messages.js';
import type { DiskStanding } from '../migration/standing.js';
import { Regions } from '../block/record/regions.js';
import type { DiskSync } from './disk-sync.js';
import type { PairIdentity } from './identity.js';
import { askMarked, type ComparedDisk, sharedPoint } from './intents.js';
import type { Message } from './messages.js';
import type { ColoOptions } from './options.js';
import { checkVouched, compare, type Known, permission, undecided } from './record.js';
import { trace } from './trace.js';

/** A digest has 16 bytes for each MiB of image. */
const IMAGE_PIECE_BYTES = 1024 * 1024;
const BYTES_PER_PIECE = 16;
const DIGEST_HEADER_MAX = 4096;

export interface ReconcileContext {
  readonly disks: readonly PrimaryDisk[];
  readonly link: Link<Message>;
  readonly options: ColoOptions;
  readonly identity: PairIdentity;
  /** What the secondary's images know. */
  readonly theirs: readonly DiskStanding[];
  /** Gets the progress. */
  readonly sync: DiskSync;
  /** The guest has not run: its disks may be replaced. */
  readonly pristine: boolean;
  /** A line for people. */
  report(line: string): void;
}

const recordOf = (context: ReconcileContext, disk: string): Known =>
  context.theirs.find(standing => standing.disk === disk)?.record;

/** The secondary's images are this guest's at an earlier moment: it has not gone on with any. */
export function followsUs(theirs: readonly DiskStanding[], ours: Known): boolean {
  const relations = theirs.map(({ record }) => compare(ours, record));
  return relations.length > 0 && relations.every(r => r === 'same' || r === 'ours-newer');
}

/**
 * Gives what may still differ. VmError: they differ, and nothing says which are to be kept. Then
 * nothing has been changed.
 */
export async function reconcileAll(context: ReconcileContext): Promise<ComparedDisk[]> {
  const back: { disk: PrimaryDisk; difference: SyncDifference }[] = [];
  const forth: SyncDifference[] = [];
  const compared: ComparedDisk[] = [];
  context.sync.begin('digest');
  for (const disk of context.disks) {
    const { direction, difference, former } = await differenceOf(disk, context);
    if (direction === 'copy') forth.push(difference!);
    if (direction === 'copy-back') back.push({ disk, difference: difference! });
    const marks = difference?.marks ?? new Regions(disk.length);
    compared.push({ disk, marks, ...(former !== undefined && { former }) });
  }
  context.sync.done();
  for (const difference of forth) difference.copy();
  if (back.length > 0) await copyBack(back, context);
  return compared;
}

interface Found {
  /** undefined: the disk is equal, or a user who may has declared it equal. */
  direction?: 'copy' | 'copy-back';
  difference?: SyncDifference;
  former?: string;
}

async function differenceOf(disk: PrimaryDisk, context: ReconcileContext): Promise<Found> {
  const { options } = context;
  const [ours, theirs] = [context.identity.record, recordOf(context, disk.name)];
  const may = permission(disk.name, ours, theirs, options.syncFrom);
  const shared = sharedPoint(disk, context.theirs);
  const difference = disk.sync.assumed ? undefined : await look(disk, shared, context);
  tell(disk, shared, difference, context);
  const former = 'base' in shared ? { former: shared.base } : {};
  if (!difference) {
    checkVouched(disk.name, ours, theirs);
    return former;
  }
  trace.disk_compared?.({ disk: disk.name, different: difference.bytes, may });
  if (difference.bytes === 0) return { ...former, difference };
  if (may !== 'if-equal') return { ...former, direction: may, difference };
  // An image that was copied by hand, and a guest that has written since the replica was attached.
  const onlyOurs = difference.olderBytes === 0 && compare(ours, theirs) === 'unknown';
  if (difference.peerIsBlank || onlyOurs) return { ...former, direction: 'copy', difference };
  throw undecided(disk.name, ours, theirs, difference.bytes);
}

/** undefined: the secondary's user vouches for this disk. */
async function look(
  disk: PrimaryDisk,
  shared: ReturnType<typeof sharedPoint>,
  { link, options, sync }: ReconcileContext,
): Promise<SyncDifference | undefined> {
  const progress = (done: number, total: number) => sync.progress('compare', disk, done, total);
  const receive = (sizeMax: number) => receiveDigest(disk, sizeMax, link, options);
  if ('base' in shared) return askMarked(disk, link, options, receive, progress);
  await link.send({ type: 'digest-request', disk: disk.name });
  const pieces = Math.ceil(disk.length / IMAGE_PIECE_BYTES);
  const digest = await receive(pieces * BYTES_PER_PIECE + DIGEST_HEADER_MAX);
  if (!digest) return undefined;
  const comparing = disk.sync.compare(digest, progress);
  return link.guard(comparing, `comparing disk '${disk.name}'`, options.syncTimeoutMs);
}

/** One sentence for each disk: which way, and why. */
function tell(
  disk: PrimaryDisk,
  shared: ReturnType<typeof sharedPoint>,
  difference: SyncDifference | undefined,
  { sync, report }: ReconcileContext,
): void {
  const name = `disk '${disk.name}'`;
  const { lookedBytes = 0, bytes = 0 } = difference ?? {};
  const amount = `${lookedBytes} of ${disk.length} bytes looked at, ${bytes} differ`;
  const why = 'why' in shared ? shared.why : undefined;
  const way = !difference ? 'vouched' : why === undefined ? 'bitmaps' : 'checksums';
  sync.note(disk, { way, lookedBytes, differentBytes: bytes, ...(why !== undefined && { why }) });
  if (way === 'bitmaps') report(`${name}: compared where bitmaps have marks: ${amount}`);
  if (way === 'checksums') report(`${name}: compared whole, because ${why}: ${amount}`);
  if (way === 'vouched') report(`${name}: not compared: it is said to be in sync`);
}

/** Until all of it is here this image is of no use, and says so. */
async function copyBack(
  back: { disk: PrimaryDisk; difference: SyncDifference }[],
  context: ReconcileContext,
): Promise<void> {
  const { link, options, identity } = context;
  if (!context.pristine) {
    throw new VmError(
      "the primary's guest has run: its disks cannot be replaced by the secondary's below it",
      {
        hint: 'Start the primary with -S, or by colo primary --config FILE --sync-from secondary.',
      },
    );
  }
  await link.guard(
    identity.beginCopy(recordOf(context, back[0].disk.name)),
    'the record of the pair',
    options.diskTimeoutMs,
  );
  for (const { disk, difference } of back) {
    const what = `copying disk '${disk.name}' from the secondary`;
    await link.guard(difference.copyBack(), what, options.syncTimeoutMs);
  }
  await link.guard(identity.goAlone(), 'the record of the pair', options.diskTimeoutMs);
}

/** undefined: the secondary's user vouches for this disk. */
async function receiveDigest(
  disk: PrimaryDisk,
  sizeMax: number,
  link: Link<Message>,
  options: ColoOptions,
): Promise<Buffer | undefined> {
  const { disk: name, vouched, size } = await link.expect('digest-size', options.syncTimeoutMs);
  if (name !== disk.name)
    throw new VmError(`digest of disk '${name}' where that of '${disk.name}' was asked`);
  if (vouched) return undefined;
  if (size > sizeMax)
    throw new VmError(`digest of disk '${name}' with ${size} bytes, at most ${sizeMax} allowed`);
  return receivePieces(
    size,
    async () => (await link.expect('digest', options.replyTimeoutMs)).bytes,
  );
}
