/**
 * Records of a pair: bytes from an image or a peer, whole, changed, cut or invented. Each is
 * refused with a sentence, or means exactly what was written; and none makes an older image the
 * newer one.
 */
import { VmError } from '../../../src/base/errors.js';
import {
  decodePairRecord,
  encodePairRecord,
  type PairRecord,
} from '../../../src/block/record/pair-record.js';
import { compare, firstRecord, nextBranch, permission } from '../../../src/colo/record.js';
import { decodeStandings, encodeStandings } from '../../../src/migration/standing.js';
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';

const hex = (random: Random, digits: number) =>
  Array.from({ length: digits }, () => random.below(16).toString(16)).join('');
const uuid = (random: Random) => [8, 4, 4, 4, 12].map(n => hex(random, n)).join('-');

function someRecord(random: Random): PairRecord {
  let record = firstRecord(uuid(random), hex(random, 32));
  for (let n = random.below(20); n > 0; n--) record = nextBranch(record, hex(random, 32));
  const state = random.pick(['protected', 'alone', 'yielded', 'copying', 'together'] as const);
  return {
    ...record,
    state,
    role: random.pick(['primary', 'secondary']),
    partial: random.chance(0.5),
  };
}

/** A byte changed, a piece cut out or doubled. */
function spoiled(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length);
  const piece = bytes.subarray(at, at + random.below(12));
  switch (random.below(3)) {
    case 0: {
      const out = Buffer.from(bytes);
      out[at] ^= 1 << random.below(8);
      return out;
    }
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + piece.length)]);
    default:
      return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
  }
}

/** undefined: it was refused, as it may be. */
function unlessRefused<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof VmError) return undefined;
    throw error;
  }
}

export const pairRecord: FuzzTarget = {
  name: 'pair-record',
  summary: 'records of a pair, from images and peers',
  run(random) {
    const record = someRecord(random);
    let bytes: Buffer = encodePairRecord(record);
    for (let n = random.below(4); n > 0; n--) bytes = spoiled(bytes, random);
    const found = unlessRefused(() => decodePairRecord(bytes));
    if (found && JSON.stringify(found) !== JSON.stringify(record))
      throw new Error(`a changed record was taken: ${String(bytes)}`);
    let told: Buffer = encodeStandings([{ disk: 'd', record }]);
    for (let n = random.below(4); n > 0; n--) told = spoiled(told, random);
    const theirs = unlessRefused(() => decodeStandings(told))?.[0]?.record;
    const relation = compare(record, theirs);
    if (relation !== compare(theirs, record) && !relation.endsWith('newer'))
      throw new Error('the two sides disagree');
    const may = unlessRefused(() => permission('d', record, theirs, undefined));
    if (may === 'copy' && relation === 'theirs-newer')
      throw new Error('an older image over a newer one');
  },
};
