/** Bytes that a stranger has changed. */
import type { Random } from './random.js';

/** One to four bytes; all ones more often than chance would have it. */
export function mutated(bytes: Buffer, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  for (let n = 0; n <= random.below(4) && changed.length > 0; n++) {
    changed[random.below(changed.length)] = random.below(3) === 0 ? 0xff : random.below(256);
  }
  return changed;
}
