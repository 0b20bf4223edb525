/** A long range as pieces, several under way at once. */
import { unlessAssertion } from '../contract/io-error.js';

const LANES = 8;

/**
 * Every piece is tried until one fails; then the first failure is thrown when the others have
 * ended.
 */
export async function pieces(
  total: number,
  size: number,
  body: (offset: number, length: number) => Promise<void>,
  lanes = LANES,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < total) {
      const offset = next;
      next += size;
      try {
        await body(offset, Math.min(size, total - offset));
      } catch (error) {
        next = total;
        throw error;
      }
    }
  };
  const all = await Promise.allSettled(Array.from({ length: lanes }, lane));
  for (const { reason } of all.filter(l => l.status === 'rejected')) throw unlessAssertion(reason);
}
