/**
 * Nested options (words/nested.ts, or the JSON of blockdev-add), taken one by one. Taking an option
 * removes it; what is left at the end was not understood, and its full name is in the error.
 */
import { VmError } from '../../base/errors.js';
import { type NestedWords, ownWord, parseNested } from '../../words/nested.js';
import { needSize, needSwitch } from '../../words/scalars.js';

const MAX_DEPTH = 32;

export class OptionTree {
  private readonly values = new Map<string, string>();
  private readonly subtrees = new Map<string, OptionTree>();

  private constructor(private readonly path: string) {}

  static parse(text: string): OptionTree {
    return OptionTree.from(parseNested(text));
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
      else if (typeof item === 'object' && item !== null) {
        const group = item as Record<string, unknown> & Pick<NestedWords, typeof ownWord>;
        if (group[ownWord] !== undefined) tree.values.set(key, group[ownWord]);
        tree.subtrees.set(key, OptionTree.from(group, tree.full(key), depth + 1));
      } else if (typeof item === 'boolean') tree.values.set(key, item ? 'on' : 'off');
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
    const value = this.string(key);
    return value === undefined ? undefined : needSwitch(value, `parameter '${this.full(key)}'`);
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

  /** Bytes. */
  size(key: string): number | undefined {
    const value = this.string(key);
    return value === undefined ? undefined : needSize(value, `parameter '${this.full(key)}'`);
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

  private below([step, ...rest]: string[]): OptionTree {
    if (step === undefined) return this;
    let next = this.subtrees.get(step);
    if (!next) this.subtrees.set(step, (next = new OptionTree(this.full(step))));
    return next.below(rest);
  }
}
