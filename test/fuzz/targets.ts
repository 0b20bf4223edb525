/** Every target, each in a file of its own below targets/. */
import type { FuzzTarget } from './target.js';

export const fuzzTargets: readonly FuzzTarget[] = [];
