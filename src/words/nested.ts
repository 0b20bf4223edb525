/**
 * The nested form of -drive, drive_add and -blockdev: `driver=quorum,children.0.file.filename=F` is
 * a tree along its dots. What the words mean is for the block layer to say.
 */
import { VmError } from '../base/errors.js';
import { parseKeyValues } from './key-values.js';

/** A word beside a group of the same name, as in `cache=none,cache.direct=off`. */
export const ownWord = Symbol('own word');

/** Leaves are the words as given. */
export type NestedWords = { [key: string]: string | NestedWords; [ownWord]?: string };

/** A bare word means `on`, as in QEMU. */
export function parseNested(text: string): NestedWords {
  const root = emptyGroup();
  if (text === '') return root;
  for (const { key, value } of parseKeyValues(text)) put(root, key, value ?? 'on');
  return root;
}

function put(root: NestedWords, key: string, value: string): void {
  const path = key.split('.');
  if (path.includes('')) throw new VmError(`'${key}' is not a name`);
  const leaf = path.pop() ?? '';
  let group = root;
  for (const step of path) {
    const next = (group[step] ??= emptyGroup());
    group = typeof next === 'string' ? (group[step] = groupWith(next)) : next;
  }
  const there = group[leaf];
  if (there === undefined) group[leaf] = value;
  else if (typeof there === 'string' || there[ownWord] !== undefined)
    throw new VmError(`'${key}' is given twice`);
  else there[ownWord] = value;
}

const groupWith = (word: string): NestedWords => Object.assign(emptyGroup(), { [ownWord]: word });

/** No prototype: `__proto__` is a key like any other. */
function emptyGroup(): NestedWords {
  return Object.create(null) as NestedWords;
}

/** Takes a word out of the top level. */
export function takeWord(words: NestedWords, key: string): string | undefined {
  const value = words[key];
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw new VmError(`'${key}' is a word here, not a group`);
  delete words[key];
  return value;
}
