/**
 * What is taken because it asks for nothing: what colo does anyway, or the absence of what it has
 * not, as management software always writes it. A value that asks for something is refused by name,
 * with what to do.
 */
import { VmError } from '../base/errors.js';
import type { KeyValues } from './key-values.js';
import { onOrOff } from './scalars.js';
import { parsed, type Type } from './types.js';

export interface NothingKey {
  /** For which it asks for nothing; `on` and `off` also as a bare word, yes and no. */
  readonly takes: readonly string[];
  /** What to do where the value asks for something. */
  readonly otherwise: string;
}
export type NothingKeys = Readonly<Record<string, NothingKey>>;

/**
 * Throws where a value asks for something. key: for the message; undefined: the value is the
 * option's whole.
 */
export function refuseMore(
  key: string | undefined,
  value: string,
  { takes, otherwise }: NothingKey,
): void {
  if (takes.includes(value) || takes.includes(onOrOff(value))) return;
  const only = takes.map(text => (text === '' ? 'nothing' : `'${text}'`)).join(' or ');
  throw new VmError(`${key === undefined ? '' : `${key}=${value}: `}only ${only} is taken here`, {
    hint: otherwise,
  });
}

/** Takes the keys that ask for nothing out of an option's. */
export function takeNothing(options: KeyValues, keys: NothingKeys, implied?: string): void {
  for (const [key, declared] of Object.entries(keys)) {
    const value = options.takeText(key);
    if (value !== undefined) refuseMore(key === implied ? undefined : key, value, declared);
  }
}

/** The same as a declared property. */
export function nothing(takes: readonly string[], otherwise: string): Type<string, true> {
  const read = (word: string, name: string) => {
    refuseMore(name, word, { takes, otherwise });
    return word;
  };
  return { ...parsed(otherwise, takes.join(' or '), read), optional: true, words: takes };
}
