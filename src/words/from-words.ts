/**
 * Declared fields from the words of an option list: `netdev=hn0,interval=1000,server,nowait`.
 * Mistakes read as QEMU's do.
 */
import { VmError } from '../base/errors.js';
import type { KeyValue } from './key-values.js';
import { didYouMean } from '../base/similar.js';
import { onOrOff } from './scalars.js';
import type { ArgsOf, Fields, Type } from './types.js';
import { checkFields } from './types.js';

export function fromWords<F extends Fields>(fields: F, items: readonly KeyValue[]): ArgsOf<F> {
  const given: Record<string, unknown> = {};
  for (const item of items) {
    const { name, type, word } = resolve(fields, item);
    const value = fromWord(name, type, word);
    const earlier = given[name];
    if (earlier === undefined) given[name] = value;
    else if (Array.isArray(earlier) && type.repeats) earlier.push(...(value as unknown[]));
    else throw new VmError(`'${name}' is given twice`);
  }
  return checkFields(fields, given);
}

/** A bare word is a switch that is on; QEMU's old `noserver` one that is off. */
function resolve(
  fields: Fields,
  { key, value }: KeyValue,
): { name: string; type: Type; word: string } {
  if (Object.hasOwn(fields, key)) return { name: key, type: fields[key], word: value ?? 'on' };
  const negated = key.startsWith('no') ? key.slice(2) : '';
  if (value === undefined && Object.hasOwn(fields, negated) && isSwitch(fields[negated]))
    return { name: negated, type: fields[negated], word: 'off' };
  throw new VmError(`Parameter '${key}' is unexpected`, {
    hint: `It takes ${Object.keys(fields).join(', ')}.${didYouMean(key, Object.keys(fields))}`,
  });
}

function fromWord(name: string, type: Type, word: string): unknown {
  const value = type.fromWord(isSwitch(type) ? onOrOff(word) : word, name);
  if (value !== undefined) return value;
  // The check of the declaration has the better sentence for a number out of range, or for a word
  // that is not in its list.
  if (/^-?[0-9]+$/.test(word)) type.check(Number(word), name);
  else if (type.words && !isSwitch(type))
    throw new VmError(`Parameter '${name}' does not accept value '${word}'`, {
      hint: `It takes ${type.words.join(', ')}.${didYouMean(word, type.words)}`,
    });
  throw new VmError(
    `Parameter '${name}' expects ${type.hmp.form === 'word' ? type.hmp.expected : 'another value'}`,
  );
}

const isSwitch = (type: Type) =>
  type.words?.length === 2 && type.words[0] === 'on' && type.words[1] === 'off';
