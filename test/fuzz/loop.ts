/** Runs a target for a while: first the seeds that once failed, then new ones. */
import { readFileSync } from 'node:fs';
import { Random } from '../support/random.js';
import type { FuzzTarget } from './target.js';

export interface FuzzResult {
  readonly cases: number;
  /** The first case that failed. */
  readonly failure?: { readonly seed: number; readonly error: unknown };
}

const corpusPath = new URL('corpus/', import.meta.url);

/** corpus/NAME.txt: a seed each line, with a word behind it on what it found. */
export function corpusOf(name: string): number[] {
  let text: string;
  try {
    text = readFileSync(new URL(`${name}.txt`, corpusPath), 'utf8');
  } catch {
    return [];
  }
  return text
    .split('\n')
    .filter(line => /^\d/.test(line))
    .map(line => Number.parseInt(line, 10));
}

/** The corpus is always run whole; new seeds follow from `first` on while there is time. */
export async function fuzz(target: FuzzTarget, first: number, ms: number): Promise<FuzzResult> {
  const end = performance.now() + ms;
  const known = corpusOf(target.name);
  for (let cases = 0; ; cases++) {
    if (cases >= known.length && performance.now() >= end) return { cases };
    const seed = known[cases] ?? (first + cases - known.length) >>> 0;
    try {
      await target.run(new Random(seed));
    } catch (error) {
      return { cases: cases + 1, failure: { seed, error } };
    }
  }
}
