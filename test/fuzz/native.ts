/**
 * The fuzzers of the software CPU (native/test/fuzz), with the sanitizers: built and run by their
 * Makefile.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const makefile = fileURLToPath(new URL('../../native/test', import.meta.url));

export const nativeTargets: readonly string[] = ['cpu-code', 'cpu-state'];

/** Prints what they print; false if a case failed. Building them comes on top of the time. */
function make(...words: string[]): boolean {
  return spawnSync('make', ['-s', '-C', makefile, ...words], { stdio: 'inherit' }).status === 0;
}

export const fuzzNative = (names: readonly string[], seed: number, ms: number): boolean =>
  make(
    'fuzz',
    `FUZZERS=${names.join(' ')}`,
    `SECONDS=${Math.ceil((ms * names.length) / 1000)}`,
    `SEED=${seed}`,
  );

export const runNativeCase = (name: string, seed: number): boolean =>
  make('fuzz-case', `FUZZERS=${name}`, `SEED=${seed}`);
