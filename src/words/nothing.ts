/**
 * What is taken because it asks for nothing: what colo does anyway, or the absence of what it has
 * not, as management software always writes it. A value that asks for something is refused by name,
 * with what to do.
 */
import { VmError } from '../base/errors.js';
import { onOrOff } from './scalars.js';
import { parsed, type Type } from './types.js';

export interface NothingKey {
  /**
   * The values that ask for nothing. Where `on` or `off` is among them, a bare word, yes and no
   * count as well.
   */
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

/** The same as a declared key. whole: what is said of it is said of the option. */
export function nothing(
  takes: readonly string[],
  otherwise: string,
  whole?: 'whole',
): Type<string, true> {
  const read = (word: string, name: string) => {
    refuseMore(whole ? undefined : name, word, { takes, otherwise });
    return word;
  };
  return { ...parsed(otherwise, takes.join(' or '), read), optional: true, words: takes };
}
