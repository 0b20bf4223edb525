/**
 * The primary, before replication starts (rule 10): every disk is known to be equal to its replica,
 * or becomes so in the direction that the records of both, or the user, allow (record.ts).
 */
import { VmError } from '../base/errors.js';
import type { PrimaryDisk, SyncDifference } from '../block/contract/replicated.js';
import type { Link } from '../migration/link.js';
import { receivePieces } from '../migration/messages.js';
import type { DiskStanding } from '../migration/standing.js';
import type { DiskSync } from './disk-sync.js';
import type { PairIdentity } from './identity.js';
import type { Message } from './messages.js';
import type { ColoOptions } from './options.js';
import { checkVouched, compare, type Known, permission, undecided } from './record.js';
import { trace } from './trace.js';

/** A digest has 16 bytes for each MiB of image. */
const imagePieceBytes = 1024 * 1024;
const bytesPerPiece = 16;
const digestHeaderMax = 4096;

export interface ReconcileWorld {
  readonly disks: readonly PrimaryDisk[];
  readonly link: Link<Message>;
  readonly options: ColoOptions;
  readonly identity: PairIdentity;
  /** What the secondary's images know. */
  readonly theirs: readonly DiskStanding[];
  /** Is told how far it is. */
  readonly sync: DiskSync;
  /** The guest has not run: its disks may be replaced. */
  readonly pristine: boolean;
}

const recordOf = (world: ReconcileWorld, disk: string): Known =>
  world.theirs.find(standing => standing.disk === disk)?.record;

/** The secondary's images are this guest's at an earlier moment: it has not gone on with any. */
export function followsUs(theirs: readonly DiskStanding[], ours: Known): boolean {
  const relations = theirs.map(({ record }) => compare(ours, record));
  return relations.length > 0 && relations.every(r => r === 'same' || r === 'ours-newer');
}

/** VmError: they differ, and nothing says which are to be kept. Then nothing has been changed. */
export async function reconcileAll(world: ReconcileWorld): Promise<void> {
  const back: { disk: PrimaryDisk; difference: SyncDifference }[] = [];
  const forth: SyncDifference[] = [];
  world.sync.begin('digest');
  for (const disk of world.disks) {
    const found = await differenceOf(disk, world);
    if (found?.direction === 'copy') forth.push(found.difference);
    if (found?.direction === 'copy-back') back.push({ disk, difference: found.difference });
  }
  world.sync.done();
  for (const difference of forth) difference.copy();
  if (back.length > 0) await copyBack(back, world);
}

interface Found {
  direction: 'copy' | 'copy-back';
  difference: SyncDifference;
}

/** undefined: it is equal, or somebody vouches for it who may. */
async function differenceOf(disk: PrimaryDisk, world: ReconcileWorld): Promise<Found | undefined> {
  const { link, options } = world;
  const [ours, theirs] = [world.identity.record, recordOf(world, disk.name)];
  const may = permission(disk.name, ours, theirs, options.syncFrom);
  const digest = disk.sync.assumed ? undefined : await askDigest(disk, link, options);
  if (!digest) return void checkVouched(disk.name, ours, theirs);
  const comparing = disk.sync.compare(digest, done => world.sync.progress('compare', disk, done));
  const what = `comparing disk '${disk.name}'`;
  const difference = await link.guard(comparing, what, options.syncTimeoutMs);
  trace.disk_compared?.({ disk: disk.name, different: difference.bytes, may });
  if (difference.bytes === 0) return undefined;
  if (may !== 'if-equal') return { direction: may, difference };
  // An image that was copied by hand, and a guest that has written since the replica was attached.
  const onlyOurs = difference.olderBytes === 0 && compare(ours, theirs) === 'unknown';
  if (difference.peerIsBlank || onlyOurs) return { direction: 'copy', difference };
  throw undecided(disk.name, ours, theirs, difference.bytes);
}

/** Until all of it is here this image is of no use, and says so. */
async function copyBack(
  back: { disk: PrimaryDisk; difference: SyncDifference }[],
  world: ReconcileWorld,
): Promise<void> {
  const { link, options, identity } = world;
  if (!world.pristine) {
    throw new VmError(
      "the primary's guest has run: its disks cannot be replaced by the secondary's below it",
      {
        hint: 'Start the primary with -S, or by colo primary --config FILE --sync-from secondary.',
      },
    );
  }
  await link.guard(
    identity.beginCopy(recordOf(world, back[0].disk.name)),
    'the record of the pair',
    options.diskTimeoutMs,
  );
  for (const { disk, difference } of back) {
    const what = `copying disk '${disk.name}' from the secondary`;
    await link.guard(difference.copyBack(), what, options.syncTimeoutMs);
  }
  await link.guard(identity.goAlone(), 'the record of the pair', options.diskTimeoutMs);
}

async function askDigest(
  disk: PrimaryDisk,
  link: Link<Message>,
  options: ColoOptions,
): Promise<Buffer | undefined> {
  await link.send({ type: 'digest-request', disk: disk.name });
  return receiveDigest(disk, link, options);
}

/** undefined: the secondary's user vouches for this disk. */
async function receiveDigest(
  disk: PrimaryDisk,
  link: Link<Message>,
  options: ColoOptions,
): Promise<Buffer | undefined> {
  const { disk: name, vouched, size } = await link.expect('digest-size', options.syncTimeoutMs);
  if (name !== disk.name)
    throw new VmError(`digest of disk '${name}' where that of '${disk.name}' was asked`);
  if (vouched) return undefined;
  const sizeMax = Math.ceil(disk.length / imagePieceBytes) * bytesPerPiece + digestHeaderMax;
  if (size > sizeMax)
    throw new VmError(`digest of disk '${name}' with ${size} bytes, at most ${sizeMax} allowed`);
  return receivePieces(
    size,
    async () => (await link.expect('digest', options.replyTimeoutMs)).bytes,
  );
}
