/**
 * What a fuzz loop runs: one case from one seed, and everything that a case does follows from it.
 */
import type { Random } from '../support/random.js';

export interface FuzzTarget {
  /** As it is called on the command line and in the corpus. */
  readonly name: string;
  /** What is fuzzed, for people. */
  readonly summary: string;
  /** Throws when the product did what it must not. A refusal with a VmError is what it must do. */
  run(random: Random): Promise<void> | void;
}
