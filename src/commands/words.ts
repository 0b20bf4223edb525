/**
 * The words of a command line by the declarations of its command, for what is plainly right.
 * Undefined: it is not, or not plainly; then oclif's parser has the word, which also knows how to
 * say what is wrong.
 */
export interface DeclaredFlag {
  type: 'option' | 'boolean';
  char?: string;
  default?: unknown;
  multiple?: boolean;
  multipleNonGreedy?: boolean;
  options?: readonly string[];
  required?: boolean;
  min?: number;
  max?: number;
  dependsOn?: readonly string[];
  exclusive?: readonly string[];
  /** A number. */
  integer?: boolean;
}
export interface Declared {
  flags: Readonly<Record<string, DeclaredFlag>>;
  args: Readonly<
    Record<string, { required?: boolean; options?: readonly string[]; default?: unknown }>
  >;
}
export interface Words {
  flags: Record<string, unknown>;
  args: Record<string, string>;
}

export function plainWords(words: readonly string[], { flags, args }: Declared): Words | undefined {
  const out: Words = { flags: {}, args: {} };
  const plain: string[] = [];
  for (let n = 0; n < words.length; n++) {
    const word = words[n];
    if (word === '') return undefined;
    if (!word.startsWith('-')) {
      plain.push(word);
      continue;
    }
    const found = flagOf(word, flags);
    if (!found) return undefined;
    const { name, flag } = found;
    const value = flag.type === 'boolean' ? true : valueOf(found.value ?? words[++n], flag);
    if (value === undefined || (found.value !== undefined && flag.type === 'boolean'))
      return undefined;
    if (!flag.multiple && name in out.flags) return undefined;
    out.flags[name] = flag.multiple
      ? [...((out.flags[name] as unknown[] | undefined) ?? []), value]
      : value;
  }
  const names = Object.keys(args);
  if (
    plain.length > names.length ||
    names.slice(plain.length).some(name => args[name].required || args[name].default !== undefined)
  )
    return undefined;
  plain.forEach((word, n) => (out.args[names[n]] = word));
  for (const [name, flag] of Object.entries(flags)) {
    if (name in out.flags) continue;
    if (flag.required) return undefined;
    if (flag.default !== undefined) out.flags[name] = flag.default;
  }
  return out;
}

/** -c, --name or --name=value, of a flag that stands for itself. */
function flagOf(
  word: string,
  flags: Declared['flags'],
): { name: string; flag: DeclaredFlag; value?: string } | undefined {
  const [, name, value] = /^--([a-z-]+)(?:=(.+))?$/s.exec(word) ?? [];
  const known =
    name !== undefined
      ? Object.hasOwn(flags, name)
        ? name
        : undefined
      : Object.keys(flags).find(key => `-${flags[key].char}` === word);
  if (known === undefined) return undefined;
  const flag = flags[known];
  if (flag.dependsOn || flag.exclusive || (flag.multiple && !flag.multipleNonGreedy))
    return undefined;
  return { name: known, flag, value };
}

function valueOf(text: string | undefined, flag: DeclaredFlag): string | number | undefined {
  if (text === undefined || text === '' || text.startsWith('-')) return undefined;
  if (flag.options && !flag.options.includes(text)) return undefined;
  if (!flag.integer) return text;
  const number = Number(text);
  return /^\d{1,15}$/.test(text) && number >= (flag.min ?? 0) && number <= (flag.max ?? Infinity)
    ? number
    : undefined;
}
