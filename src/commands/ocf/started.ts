/**
 * What an instance was started with. A definition that is edited, or an address that goes with its
 * network, changes nothing for a VM that runs: it is watched, and ended, as it was started.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { isObject } from '../../words/types.js';
import type { PairFile } from '../pair/read.js';
import type { Side } from '../pair/side.js';

export interface Definition {
  readonly file: PairFile;
  readonly side: Side;
}

const beside = (pidfile: string) => pidfile.replace(/\.pid$/, '.json');

export function rememberStart(pidfile: string, definition: Definition): void {
  writeFileSync(beside(pidfile), JSON.stringify(definition), { mode: 0o600 });
}

export function forgetStart(pidfile: string): void {
  rmSync(beside(pidfile), { force: true });
}

/** undefined: it was not started since the host was. */
export function startedWith(pidfile: string): Definition | undefined {
  try {
    const given: unknown = JSON.parse(readFileSync(beside(pidfile), 'utf8'));
    return isObject(given) && isObject(given['file'])
      ? (given as unknown as Definition)
      : undefined;
  } catch {
    return undefined;
  }
}
