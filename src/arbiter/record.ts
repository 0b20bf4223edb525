/**
 * What an arbiter keeps of a VM: one line of JSON (format: README). It is untrusted when it comes
 * back: a person may have edited it, another VM or a newer colo may have written it.
 */
import { VmError } from '../base/errors.js';
import { jsonChecksum, jsonObject, otherVersion } from '../base/sealed-json.js';

export interface ArbiterRecord {
  /** The uuid of the pair, as it stands at the images. */
  readonly vm: string;
  /** From 1; each change is one more. */
  readonly term: number;
  /** The line of writes that the owner's images are on, as it stands there. */
  readonly branch: string;
  /** The node that runs the guest. */
  readonly owner: string;
  /** The node that follows it. */
  readonly replica: string | undefined;
  /** The replica holds a whole state of this branch, and the owner's output waits for it. */
  readonly inStep: boolean;
}

export const RECORD_BYTES_MAX = 4096;
const MAGIC = 'colo-arbiter';
const VERSION = 1;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const BRANCH_ID = /^[0-9a-f]{32}$/;
const NODE_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/;

/** The name of a host in a record. */
export const isNode = (value: unknown): value is string =>
  typeof value === 'string' && NODE_NAME.test(value);

export function encodeRecord(record: ArbiterRecord): Buffer {
  const body = plain(record);
  return Buffer.from(`${JSON.stringify({ ...body, checksum: jsonChecksum(body) })}\n`);
}

export const sameRecord = (a: ArbiterRecord, b: ArbiterRecord): boolean =>
  JSON.stringify(plain(a)) === JSON.stringify(plain(b));

/** VmError: nothing can be decided by it, and it must not be written over. */
export function decodeRecord(bytes: Uint8Array): ArbiterRecord {
  const value = bytes.length > RECORD_BYTES_MAX ? undefined : jsonObject(bytes);
  if (value?.['magic'] !== MAGIC) throw new VmError('it is none of colo');
  if (value['version'] !== VERSION) throw otherVersion(value['version'], VERSION);
  const record = checked(value);
  if (value['checksum'] !== jsonChecksum(plain(record)))
    throw new VmError('its checksum is wrong: it was changed by hand, or is damaged');
  return record;
}

function checked(value: Readonly<Record<string, unknown>>): ArbiterRecord {
  const { vm, term, branch, owner, replica, inStep } = value;
  const wrong = (name: string) => new VmError(`its ${name} is not one`);
  if (typeof vm !== 'string' || !UUID.test(vm)) throw wrong('vm');
  if (!Number.isSafeInteger(term) || (term as number) < 1) throw wrong('term');
  if (typeof branch !== 'string' || !BRANCH_ID.test(branch)) throw wrong('branch');
  if (!isNode(owner)) throw wrong('owner');
  if (replica !== null && !isNode(replica)) throw wrong('replica');
  if (typeof inStep !== 'boolean') throw wrong('inStep');
  if (replica === owner) throw new VmError(`its owner and its replica are both '${owner}'`);
  if (inStep && replica === null) throw new VmError('it calls a replica in step and names none');
  return { vm, term: term as number, branch, owner, replica: replica ?? undefined, inStep };
}

/** In one order, whatever made it. */
function plain({ vm, term, branch, owner, replica, inStep }: ArbiterRecord) {
  return {
    magic: MAGIC,
    version: VERSION,
    vm,
    term,
    branch,
    owner,
    replica: replica ?? null,
    inStep,
  };
}
