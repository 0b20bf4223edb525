/**
 * Which role a side starts in, when its host knows no more than what its own images say. No answer
 * here makes a guest run: a primary whose record leaves a doubt waits for its peer's word.
 */
import type { PairRecord } from '../../block/record/pair-record.js';
import type { Role } from '../options/spec.js';
import type { Side } from './side.js';

export function roleFor(side: Side, record: PairRecord | undefined): Role {
  if (!record) return side === 'a' ? 'primary' : 'secondary';
  // The other side has the guest, or this image is no use until it has been copied to.
  if (record.state === 'yielded' || record.state === 'copying') return 'secondary';
  return record.role;
}
