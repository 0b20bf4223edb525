/**
 * What an image knows of the pair that it belongs to, as JSON at the image itself (format: README).
 * A *branch* is one line of writes: both sides of a protected pair are on the same one, and a side
 * that goes on alone begins another, of the next generation. `history` names those that it grew out
 * of, so that two images tell by themselves which of them is newer, or that neither is.
 */
import { VmError } from '../../base/errors.js';
import { jsonChecksum, jsonObject, otherVersion } from '../../base/sealed-json.js';

export const pairRoles = ['primary', 'secondary'] as const;
export type PairRole = (typeof pairRoles)[number];

export const pairStates = [
  'protected', // the other side holds it too, or may hold it, and may go on from it
  'alone', // no other image is on this branch
  'yielded', // the other side was seen to go on
  'copying', // half of one image and half of another: of no use until the copy is through
  'together', // both sides ended in order, with the same content
] as const;
export type PairState = (typeof pairStates)[number];

export interface PairRecord {
  /** A uuid, made when a pair is first made. */
  readonly pair: string;
  /** How often a side has gone on alone, plus one. */
  readonly generation: number;
  readonly branch: string;
  /** Former branches, the last one first. */
  readonly history: readonly string[];
  readonly role: PairRole;
  readonly state: PairState;
  /** The image holds part of an epoch; its undo data is, or was, in a process (rule 7). */
  readonly partial: boolean;
}

export const HISTORY_MAX = 16;
const MAGIC = 'colo-pair';
const VERSION = 1;
const BYTES_MAX = 4096;
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const branchId = /^[0-9a-f]{32}$/;

export function encodePairRecord(record: PairRecord): Buffer {
  const body = plain(record);
  return Buffer.from(`${JSON.stringify({ ...body, checksum: jsonChecksum(body) })}\n`);
}

/** VmError: it is no record that this colo can act on, and must not be written over. */
export function decodePairRecord(bytes: Uint8Array): PairRecord {
  const value = bytes.length > BYTES_MAX ? undefined : jsonObject(bytes);
  if (value?.['magic'] !== MAGIC) throw new VmError('it is not one of colo');
  if (value['version'] !== VERSION) throw otherVersion(value['version'], VERSION);
  const record = checkRecord(value);
  if (value['checksum'] !== jsonChecksum(plain(record)))
    throw new VmError('its checksum is wrong: it was changed by hand, or is damaged');
  return record;
}

/** Untrusted fields, from an image or a peer, to a value of the right shape. */
export function checkRecord(value: Readonly<Record<string, unknown>>): PairRecord {
  const { pair, generation, branch, history, role, state, partial } = value;
  const wrong = (name: string) => new VmError(`its ${name} is not one`);
  if (typeof pair !== 'string' || !uuid.test(pair)) throw wrong('pair');
  if (!Number.isSafeInteger(generation) || (generation as number) < 1) throw wrong('generation');
  if (!isBranch(branch)) throw wrong('branch');
  if (!Array.isArray(history) || history.length > HISTORY_MAX || !history.every(isBranch))
    throw wrong('history');
  if (!isOneOf(pairRoles, role)) throw wrong('role');
  if (!isOneOf(pairStates, state)) throw wrong('state');
  if (typeof partial !== 'boolean') throw wrong('mark of a partial epoch');
  return { pair, generation: generation as number, branch, history, role, state, partial };
}

const isBranch = (value: unknown): value is string =>
  typeof value === 'string' && branchId.test(value);
const isOneOf = <T extends string>(words: readonly T[], value: unknown): value is T =>
  words.includes(value as T);

/** The keys stand in one fixed order. */
function plain({ pair, generation, branch, history, role, state, partial }: PairRecord) {
  return {
    magic: MAGIC,
    version: VERSION,
    pair,
    generation,
    branch,
    history,
    role,
    state,
    partial,
  };
}
