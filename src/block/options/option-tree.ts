/**
 * QEMU's option string, `key=value,key.sub=value`, as a tree of strings: a comma in a value is
 * doubled, dots nest. Taking an option removes it; what is left at the end was not understood, and
 * its full name is in the error.
 */
import { VmError } from '../../base/errors.js';

const MAX_DEPTH = 32;

export class OptionTree {
  private readonly values = new Map<string, string>();
  private readonly subtrees = new Map<string, OptionTree>();

  private constructor(private readonly path: string) {}

  /** implied: the key of a first word without `=`. */
  static parse(text: string, implied?: string): OptionTree {
    const root = new OptionTree('');
    const words = split(text);
    words.forEach((word, index) => {
      const equals = word.indexOf('=');
      if (equals < 0 && index === 0 && implied !== undefined && word !== '')
        root.put(implied, word);
      // A bare word is a switch, as in `readonly`.
      else if (equals < 0) root.put(word, 'on');
      else root.put(word.slice(0, equals), word.slice(equals + 1));
    });
    return root;
  }

  /**
   * Nested objects of QMP's blockdev-add: scalars become text, as the string form would have them.
   */
  static from(value: Readonly<Record<string, unknown>>, path = '', depth = 0): OptionTree {
    const tree = new OptionTree(path);
    if (depth > MAX_DEPTH)
      throw new VmError(`parameter '${path.slice(0, 60)}...' is nested too deeply`);
    for (const [key, item] of Object.entries(value)) {
      if (Array.isArray(item))
        tree.subtrees.set(
          key,
          OptionTree.from(
            Object.fromEntries(item.map((v: unknown, i) => [String(i), v])),
            tree.full(key),
            depth + 1,
          ),
        );
      else if (typeof item === 'object' && item !== null)
        tree.subtrees.set(
          key,
          OptionTree.from(item as Record<string, unknown>, tree.full(key), depth + 1),
        );
      else if (typeof item === 'boolean') tree.values.set(key, item ? 'on' : 'off');
      // As `backing=` in a string: none at all.
      else if (item === null && key === 'backing') tree.values.set(key, '');
      else if (typeof item === 'string' || typeof item === 'number')
        tree.values.set(key, String(item));
      else throw new VmError(`parameter '${tree.full(key)}' has no value`);
    }
    return tree;
  }

  get empty(): boolean {
    return this.values.size === 0 && this.subtrees.size === 0;
  }

  full(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }

  /** Another name of an option that stands below a key: `bps` is `throttling.bps-total`. */
  alias(old: string, key: string, name: string): void {
    const value = this.string(old);
    if (value === undefined) return;
    const tree = this.below([key]);
    if (tree.has(name))
      throw new VmError(
        `parameters '${tree.full(name)}' and its alias '${this.full(old)}' cannot be used at ` +
          'the same time',
      );
    tree.values.set(name, value);
  }

  /** What is said of a group in one word: `file=F` is `file.filename=F`. */
  named(key: string, name: string, value: string): OptionTree {
    const tree = this.sub(key) ?? new OptionTree(this.full(key));
    if (tree.has(name))
      throw new VmError(
        `parameters '${this.full(key)}' and '${tree.full(name)}' say the same thing`,
      );
    tree.values.set(name, value);
    return tree;
  }

  has(key: string): boolean {
    return this.values.has(key) || this.subtrees.has(key);
  }

  string(key: string): string | undefined {
    const value = this.values.get(key);
    this.values.delete(key);
    return value;
  }

  /** Without taking it. */
  peek(key: string): string | undefined {
    return this.values.get(key);
  }

  required(key: string): string {
    const value = this.string(key);
    if (value === undefined) throw new VmError(`parameter '${this.full(key)}' is missing`);
    return value;
  }

  oneOf<const W extends readonly string[]>(key: string, words: W): W[number] | undefined {
    const value = this.string(key);
    if (value === undefined) return undefined;
    if (!words.includes(value))
      throw new VmError(`parameter '${this.full(key)}' takes ${words.join(', ')}; not '${value}'`);
    return value;
  }

  flag(key: string): boolean | undefined {
    const value = this.oneOf(key, ['on', 'off', 'yes', 'no', 'true', 'false', 'y', 'n']);
    return value === undefined ? undefined : ['on', 'yes', 'true', 'y'].includes(value);
  }

  integer(key: string, min: number, max: number): number | undefined {
    const value = this.string(key);
    if (value === undefined) return undefined;
    const n = /^\d{1,16}$/.test(value) ? Number(value) : NaN;
    if (!(n >= min && n <= max))
      throw new VmError(
        `parameter '${this.full(key)}' takes a whole number from ${min} to ${max}; not '${value}'`,
      );
    return n;
  }

  /** Bytes; suffixes b k M G T P, of 1024. */
  size(key: string): number | undefined {
    const value = this.string(key);
    if (value === undefined) return undefined;
    const match = /^(\d{1,16}(?:\.\d{1,6})?)([bBkKmMgGtTpP]?)$/.exec(value);
    const bytes = match
      ? Math.floor(Number(match[1]) * 1024 ** 'bkmgtp'.indexOf((match[2] || 'b').toLowerCase()))
      : NaN;
    if (!Number.isSafeInteger(bytes))
      throw new VmError(
        `parameter '${this.full(key)}' takes a size such as 512M or 2G; not '${value}'`,
      );
    return bytes;
  }

  /** The options below a key; undefined when there are none. */
  sub(key: string): OptionTree | undefined {
    const tree = this.subtrees.get(key);
    this.subtrees.delete(key);
    return tree;
  }

  /** `key.0`, `key.1` ...: subtrees or plain words, in numeric order. */
  numbered(key: string): { index: number; name: string; value: OptionTree | string }[] {
    const tree = this.sub(key);
    if (!tree) return [];
    const names = [...new Set([...tree.values.keys(), ...tree.subtrees.keys()])];
    const items = names.map(name => {
      if (!/^(0|[1-9]\d{0,2})$/.test(name))
        throw new VmError(
          `parameter '${tree.full(name)}' is not known: a number must follow '${this.full(key)}'`,
        );
      if (tree.values.has(name) && tree.subtrees.has(name))
        throw new VmError(`parameter '${tree.full(name)}' is both a word and a group`);
      return {
        index: Number(name),
        name: `${key}.${Number(name)}`,
        value: tree.values.get(name) ?? tree.subtrees.get(name)!,
      };
    });
    return items.sort((a, b) => a.index - b.index);
  }

  /** Everything must have been taken. */
  end(context = ''): void {
    for (const key of this.values.keys())
      throw new VmError(`parameter '${this.full(key)}' is not known${context}`);
    for (const tree of this.subtrees.values()) {
      tree.end(context);
      throw new VmError(`parameter '${tree.path}' is not known${context}`);
    }
  }

  private put(key: string, value: string): void {
    const steps = key.split('.');
    if (steps.some(step => step === ''))
      throw new VmError(key === '' ? 'an option has no name' : `parameter '${key}' is not a name`);
    if (steps.length > MAX_DEPTH)
      throw new VmError(`parameter '${key.slice(0, 60)}...' is nested too deeply`);
    const last = steps.pop()!;
    const tree = this.below(steps);
    if (tree.values.has(last)) throw new VmError(`parameter '${key}' is given twice`);
    tree.values.set(last, value);
  }

  private below([step, ...rest]: string[]): OptionTree {
    if (step === undefined) return this;
    let next = this.subtrees.get(step);
    if (!next) this.subtrees.set(step, (next = new OptionTree(this.full(step))));
    return next.below(rest);
  }
}

/** At single commas; `,,` stands for one. */
function split(text: string): string[] {
  if (text === '') return [];
  const words: string[] = [];
  let word = '';
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== ',') word += text[i];
    else if (text[i + 1] === ',') word += text[++i];
    else {
      words.push(word);
      word = '';
    }
  }
  words.push(word);
  return words;
}
