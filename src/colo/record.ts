/**
 * Which of two images is the newer one, and what may be done when they differ. All of it is decided
 * here, from the records of both sides (block/record) and the user's word; nothing is read
 * or written.
 */
import { VmError, assertNever } from '../base/errors.js';
import { unpaired } from '../block/record/image-record.js';
import { HISTORY_MAX, type PairRecord, type PairState } from '../block/record/pair-record.js';
import type { SyncFrom } from '../migration/manifest.js';

export const relations = [
  'same',
  'ours-newer',
  'theirs-newer',
  'diverged',
  'strangers',
  'unknown',
] as const;
export type Relation = (typeof relations)[number];

export type Known = PairRecord | undefined;

/** A mark alone is no record of a pair. */
export const pairedOf = (record: Known): Known =>
  record?.pair === unpaired.pair ? undefined : record;

/**
 * By descent alone: the younger branch names the older one in its history. `diverged` is also said
 * of images of one pair that are too many generations apart to tell.
 */
export function compare(ours: Known, theirs: Known): Relation {
  const [a, b] = [pairedOf(ours), pairedOf(theirs)];
  if (!a || !b) return 'unknown';
  if (a.pair !== b.pair) return 'strangers';
  if (a.branch === b.branch) return 'same';
  if (a.history.includes(b.branch)) return 'ours-newer';
  return b.history.includes(a.branch) ? 'theirs-newer' : 'diverged';
}

/** No other image is on the branch that this makes. */
export function nextBranch(now: PairRecord, branch: string): PairRecord {
  const history = [now.branch, ...now.history].slice(0, HISTORY_MAX);
  const { pair, generation, partial } = now;
  return {
    pair,
    generation: generation + 1,
    branch,
    history,
    role: 'primary',
    state: 'alone',
    partial,
  };
}

export const firstRecord = (pair: string, branch: string): PairRecord => ({
  pair,
  generation: 1,
  branch,
  history: [],
  role: 'primary',
  state: 'alone',
  partial: false,
});

/** No other image has ever been on its branch, nor on one before. */
export const isUnpaired = (record: Known) => record?.generation === 1 && record.state === 'alone';

/** Nothing of it is worth keeping: it is half of one image and half of another. */
export const isHalf = (record: Known) =>
  record !== undefined && (record.partial || record.state === 'copying');

/**
 * What the primary may do with a disk that differs from its replica. copy: overwrite the replica.
 * copy-back: overwrite its own. if-equal: neither, but a replica that is blank has nothing to lose.
 */
export type Permission = 'copy' | 'copy-back' | 'if-equal';

/** VmError: this pair of images must not be joined at all without another word of the user. */
export function permission(
  disk: string,
  primary: Known,
  secondary: Known,
  word: SyncFrom | undefined,
): Permission {
  if (word === 'primary') return 'copy';
  if (word === 'secondary') {
    if (isHalf(secondary))
      throw new VmError(
        `disk '${disk}': the secondary's image is half copied: nothing can be copied from it`,
      );
    return 'copy-back';
  }
  const relation = compare(primary, secondary);
  switch (relation) {
    case 'same':
    case 'ours-newer':
      return 'copy';
    case 'theirs-newer':
      throw olderPrimary(disk, primary!.generation, secondary!.generation);
    case 'diverged':
    case 'strangers':
    case 'unknown':
      return 'if-equal';
    default:
      return assertNever(relation);
  }
}

/** May the user's x-assume-in-sync stand in for a comparison? VmError: no. */
export function checkVouched(disk: string, primary: Known, secondary: Known): void {
  const why = isHalf(secondary)
    ? "the secondary's image is half copied"
    : vouchObstacle(compare(primary, secondary));
  if (why !== undefined)
    throw new VmError(`disk '${disk}': x-assume-in-sync cannot be right: ${why}`);
}

function vouchObstacle(relation: Relation): string | undefined {
  if (relation === 'same' || relation === 'unknown') return undefined;
  if (relation === 'strangers') return 'the images belong to different pairs';
  return relation === 'diverged' ? 'both sides have gone on alone' : 'one side has gone on alone';
}

/** They differ, and no record tells which one is to be kept. */
export function undecided(disk: string, primary: Known, secondary: Known, bytes: number): VmError {
  const why: Partial<Record<Relation, string>> = {
    diverged: 'both sides have gone on alone since they were equal',
    strangers: 'they belong to different pairs',
    unknown: 'no record tells which of them is newer',
  };
  const reason = why[compare(primary, secondary)] ?? 'the user must say which to keep';
  return new VmError(
    `disk '${disk}' differs from the secondary's in ${bytes} bytes, and ${reason}. ${SAY_WHICH}`,
  );
}

function olderPrimary(disk: string, ours: number, theirs: number): VmError {
  return new VmError(
    `disk '${disk}': the secondary's image is of generation ${theirs}, this primary's of ` +
      `${ours}: ` +
      `the secondary has gone on alone, and what is here is older. ${SAY_WHICH}`,
  );
}

export const SAY_WHICH =
  'x-sync-from (--sync-from secondary, or primary) says whose disks are kept; ' +
  "the other side's are overwritten";

/** Several images of one side as one. VmError: they do not belong together. */
export function common(images: readonly { image: string; record: Known }[]): Known {
  const known = images.flatMap(({ image, record }) =>
    pairedOf(record) ? [{ image, record: record! }] : [],
  );
  if (known.length === 0) return undefined;
  const [first, ...others] = known;
  for (const other of others) requireSame(first, other);
  const states = known.map(({ record }) => record.state);
  return {
    ...first.record,
    role: known.some(({ record }) => record.role === 'secondary') ? 'secondary' : 'primary',
    state: mostCareful.find(state => states.includes(state))!,
    partial: known.some(({ record }) => record.partial),
  };
}

/** A process that ends between two of its writes leaves images in two states. */
const mostCareful: readonly PairState[] = ['copying', 'yielded', 'protected', 'together', 'alone'];

interface Held {
  image: string;
  record: PairRecord;
}

function requireSame(a: Held, b: Held): void {
  const relation = compare(a.record, b.record);
  if (relation === 'same') return;
  const lines = relation === 'diverged' ? ', of different lines' : '';
  const apart =
    relation === 'strangers'
      ? 'belong to different pairs'
      : `are of generations ${a.record.generation} and ${b.record.generation}${lines}`;
  throw new VmError(`images '${a.image}' and '${b.image}' do not belong together: they ${apart}`, {
    hint: 'colo image record IMAGE shows what each knows; --as gives one the record of the other.',
  });
}

/**
 * Why a guest with this record may not be started before its peer has answered. Undefined: it may
 * be started.
 */
export function startObstacle(record: Known): string | undefined {
  const now = pairedOf(record);
  if (now?.state === 'copying') return 'its disk is half copied from the secondary';
  if (now?.state === 'yielded')
    return `the secondary has taken this guest over (it was generation ${now.generation} here)`;
  if (now?.state === 'protected')
    return (
      `this guest (generation ${now.generation}) had a secondary, which may have taken it ` + 'over'
    );
  return undefined;
}
