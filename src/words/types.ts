/**
 * The types of command arguments and results. One value of Type is at once the TypeScript type, the
 * check of what a client sent (with QMP's error texts), the entry in query-qmp-schema, the way to
 * read it from an HMP line, and the source of help and completion.
 */
import { VmError } from '../base/errors.js';
import { integerOf, parseSize } from './scalars.js';

/** What tab completion can offer where a value is asked for. */
export type CompletionSource =
  | 'commands'
  | 'info'
  | 'block-nodes'
  | 'block-jobs'
  | 'capabilities'
  | 'parameters'
  | 'netdevs'
  | 'chardevs'
  | 'objects'
  | 'object-types'
  | 'devices'
  | 'trace-events'
  | 'files';

/** How HMP reads a value: one word, the rest of the line, `-x`, or not at all. */
export type HmpForm =
  | { form: 'word'; expected: string }
  | { form: 'rest' }
  | { form: 'flag'; letter: string }
  | { form: 'format' }
  | { form: 'none' };

export interface Type<T = unknown, O extends boolean = boolean> {
  readonly summary: string;
  readonly optional: O;
  readonly complete?: CompletionSource;
  /** The words to offer, where they are fixed. */
  readonly words?: readonly string[];
  readonly hmp: HmpForm;
  /** In an option list it may be given more than once: an array. */
  readonly repeats?: boolean;
  /** path: `capabilities[0].state`. */
  check(value: unknown, path: string): T;
  /**
   * Reads a word of a line, or the value of `name=word`. Returns undefined when the word is no such
   * value; throws a VmError that begins with the name to say more.
   */
  fromWord(word: string, name?: string): T | undefined;
  /** Announces itself to the schema, gives the name of its type. */
  describe(schema: SchemaSink): string;
}

export interface SchemaSink {
  /** Adds a type once. */
  add(name: string, entry: () => Record<string, unknown>): string;
  builtin(name: string, json: string): string;
}

export type Fields = Readonly<Record<string, Type>>;
export type TypeOf<F> = F extends Type<infer T> ? T : never;
type OptionalKeys<F> = { [K in keyof F]: F[K] extends Type<unknown, true> ? K : never }[keyof F];
type Flat<T> = { [K in keyof T]: T[K] };
/** The arguments as the command's run() sees them. */
export type ArgsOf<F> = Flat<
  { [K in Exclude<keyof F, OptionalKeys<F>>]: TypeOf<F[K]> } & {
    [K in OptionalKeys<F>]?: TypeOf<F[K]>;
  }
>;

type Options = { readonly complete?: CompletionSource };
const wrongType = (path: string, expected: string) =>
  new VmError(`Invalid parameter type for '${path}', expected: ${expected}`);

export function optional<T>(type: Type<T>): Type<T, true> {
  return { ...type, optional: true };
}

export function str(summary = '', options: Options = {}): Type<string, false> {
  return {
    summary,
    optional: false,
    ...options,
    hmp: { form: 'word', expected: 'string' },
    check(value, path) {
      if (typeof value !== 'string') throw wrongType(path, 'string');
      return value;
    },
    fromWord: word => word,
    describe: schema => schema.builtin('str', 'string'),
  };
}

/** `key=A,key=B`; in QMP a list of `{ "str": "A" }`, as QEMU has it. */
export function strings(summary = ''): Type<string[], false> {
  return {
    summary,
    optional: false,
    repeats: true,
    hmp: { form: 'word', expected: 'string' },
    check(value, path) {
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      return value.map((item: unknown, i) => {
        const text = isObject(item) ? item['str'] : item;
        if (typeof text !== 'string') throw wrongType(`${path}[${i}].str`, 'string');
        return text;
      });
    },
    fromWord: word => [word],
    describe: schema => schema.builtin('any', 'value'),
  };
}

/** In HMP the rest of the line, quotes and all. */
export function rest(summary = '', options: Options = {}): Type<string, false> {
  return { ...str(summary, options), hmp: { form: 'rest' } };
}

/** gdb's `/4xg`, directly behind the name of the command. */
export function format(summary = ''): Type<string, false> {
  return { ...str(summary), hmp: { form: 'format' } };
}

export function int(summary = '', range: { min?: number; max?: number } = {}): Type<number, false> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = range;
  const inRange = (value: number) => value >= min && value <= max;
  return {
    summary,
    optional: false,
    hmp: { form: 'word', expected: 'integer' },
    check(value, path) {
      if (typeof value !== 'bigint' && !Number.isInteger(value)) throw wrongType(path, 'integer');
      if (!inRange(Number(value)))
        throw new VmError(`Parameter '${path}' expects an integer from ${min} to ${max}`);
      return Number(value);
    },
    fromWord(word) {
      const value = integerOf(word);
      return value !== undefined && inRange(value) ? value : undefined;
    },
    describe: schema => schema.builtin('int', 'int'),
  };
}

export function num(summary = ''): Type<number, false> {
  return {
    summary,
    optional: false,
    hmp: { form: 'word', expected: 'number' },
    check(value, path) {
      if (typeof value !== 'number') throw wrongType(path, 'number');
      return value;
    },
    fromWord: word => (/^-?[0-9]+(\.[0-9]+)?$/.test(word) ? Number(word) : undefined),
    describe: schema => schema.builtin('number', 'number'),
  };
}

/**
 * Bytes: a number in QMP; in HMP with an optional suffix k M G T (KiB ...), MiB without one where
 * `unit` says so.
 */
export function size(summary = '', unit: 'B' | 'M' = 'B'): Type<number, false> {
  const base = int(summary, { min: 0 });
  return {
    ...base,
    hmp: { form: 'word', expected: 'size' },
    fromWord: word => parseSize(word, unit),
    describe: schema => schema.builtin('size', 'int'),
  };
}

/** In HMP the words on and off. */
export function bool(summary = ''): Type<boolean, false> {
  return {
    summary,
    optional: false,
    words: ['on', 'off'],
    hmp: { form: 'word', expected: "'on' or 'off'" },
    check(value, path) {
      if (typeof value !== 'boolean') throw wrongType(path, 'boolean');
      return value;
    },
    fromWord: word => (word === 'on' ? true : word === 'off' ? false : undefined),
    describe: schema => schema.builtin('bool', 'boolean'),
  };
}

/** An optional boolean that HMP writes as `-x`. */
export function flag(letter: string, summary = ''): Type<boolean, true> {
  return { ...bool(summary), optional: true, words: undefined, hmp: { form: 'flag', letter } };
}

export function oneOf<const W extends readonly string[]>(
  words: W,
  summary = '',
  options: Options & { name?: string } = {},
): Type<W[number], false> {
  const known = new Set<string>(words);
  return {
    summary,
    optional: false,
    words,
    complete: options.complete,
    hmp: { form: 'word', expected: words.length <= 8 ? words.join(', ') : 'one of its words' },
    check(value, path) {
      if (typeof value !== 'string') throw wrongType(path, 'string');
      if (!known.has(value))
        throw new VmError(
          `Parameter '${path.split('.').at(-1) ?? path}' does not accept value '${value}'`,
        );
      return value;
    },
    fromWord: word => (known.has(word) ? word : undefined),
    describe: schema =>
      schema.add(options.name ?? words.join('|'), () => ({
        'meta-type': 'enum',
        members: words.map(name => ({ name })),
        values: words,
      })),
  };
}

/** A word that a function reads. The function throws what is wrong, with the name in front. */
export function parsed<T>(
  summary: string,
  expected: string,
  read: (word: string, name: string) => T,
): Type<T, false> {
  return {
    summary,
    optional: false,
    hmp: { form: 'word', expected },
    check(value, path) {
      if (typeof value !== 'string') throw wrongType(path, 'string');
      return read(value, path);
    },
    fromWord: (word, name = '') => read(word, name),
    describe: schema => schema.builtin('str', 'string'),
  };
}

const notInHmp = { hmp: { form: 'none' }, fromWord: () => undefined } as const;

export function list<T>(element: Type<T>, summary = ''): Type<T[], false> {
  return {
    summary,
    optional: false,
    ...notInHmp,
    check(value, path) {
      if (!Array.isArray(value)) throw wrongType(path, 'array');
      return value.map((item, i) => element.check(item, `${path}[${i}]`));
    },
    describe(schema) {
      const inner = element.describe(schema);
      return schema.add(`[${inner}]`, () => ({ 'meta-type': 'array', 'element-type': inner }));
    },
  };
}

export function struct<F extends Fields>(
  name: string,
  fields: F,
  summary = '',
): Type<ArgsOf<F>, false> {
  return {
    summary,
    optional: false,
    ...notInHmp,
    check(value, path) {
      if (!isObject(value)) throw wrongType(path, 'object');
      return checkFields(fields, value, `${path}.`);
    },
    describe: schema =>
      schema.add(name, () => ({ 'meta-type': 'object', members: describeFields(fields, schema) })),
  };
}

/** `{ type: 'inet', data: { ... } }`: what `data` holds depends on `type`. */
export function tagged<B extends Readonly<Record<string, Type>>>(
  name: string,
  branches: B,
  summary = '',
): Type<{ [K in keyof B & string]: { type: K; data: TypeOf<B[K]> } }[keyof B & string], false> {
  const tags = Object.keys(branches);
  const tag = oneOf(tags, '', { name: `${name}Kind` });
  return {
    summary,
    optional: false,
    ...notInHmp,
    check(value, path) {
      if (!isObject(value)) throw wrongType(path, 'object');
      if (!('type' in value)) throw new VmError(`Parameter '${path}.type' is missing`);
      const type = tag.check(value['type'], `${path}.type`);
      const checked = checkFields({ type: tag, data: branches[type] }, value, `${path}.`);
      return checked as ReturnType<
        Type<
          { [K in keyof B & string]: { type: K; data: TypeOf<B[K]> } }[keyof B & string]
        >['check']
      >;
    },
    describe: schema =>
      schema.add(name, () => ({
        'meta-type': 'object',
        members: [{ name: 'type', type: tag.describe(schema) }],
        tag: 'type',
        variants: tags.map(word => ({ case: word, type: branches[word].describe(schema) })),
      })),
  };
}

/** `{ type: 'chardev', id: ... }`: which members there are besides depends on `type`. */
export function union<B extends Readonly<Record<string, Fields>>>(
  name: string,
  branches: B,
  summary = '',
): Type<{ [K in keyof B & string]: Flat<{ type: K } & ArgsOf<B[K]>> }[keyof B & string], false> {
  const tags = Object.keys(branches);
  const tag = oneOf(tags, '', { name: `${name}Type` });
  return {
    summary,
    optional: false,
    ...notInHmp,
    check(value, path) {
      if (!isObject(value)) throw wrongType(path, 'object');
      if (!('type' in value)) throw new VmError(`Parameter '${path}.type' is missing`);
      const type = tag.check(value['type'], `${path}.type`);
      return checkFields({ type: tag, ...branches[type] }, value, `${path}.`) as {
        [K in keyof B & string]: Flat<{ type: K } & ArgsOf<B[K]>>;
      }[keyof B & string];
    },
    describe: schema =>
      schema.add(name, () => ({
        'meta-type': 'object',
        members: [{ name: 'type', type: tag.describe(schema) }],
        tag: 'type',
        variants: tags.map(word => ({
          case: word,
          type: schema.add(`${name}-${word}`, () => ({
            'meta-type': 'object',
            members: describeFields(branches[word], schema),
          })),
        })),
      })),
  };
}

/** Any JSON value. */
export function anything(summary = ''): Type<unknown, false> {
  return {
    summary,
    optional: false,
    ...notInHmp,
    check: value => value,
    describe: schema => schema.builtin('any', 'value'),
  };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Checks members in the order of declaration, as QEMU does: first what is missing or wrong, then
 * what is unexpected.
 */
export function checkFields<F extends Fields>(
  fields: F,
  value: Record<string, unknown>,
  prefix = '',
): ArgsOf<F> {
  const out: Record<string, unknown> = {};
  for (const [name, type] of Object.entries(fields)) {
    if (Object.hasOwn(value, name)) out[name] = type.check(value[name], prefix + name);
    else if (!type.optional) throw new VmError(`Parameter '${prefix}${name}' is missing`);
  }
  for (const name of Object.keys(value))
    if (!Object.hasOwn(fields, name))
      throw new VmError(`Parameter '${prefix}${name}' is unexpected`);
  return out as ArgsOf<F>;
}

export function describeFields(fields: Fields, schema: SchemaSink): Record<string, unknown>[] {
  return Object.entries(fields).map(([name, type]) => ({
    name,
    type: type.describe(schema),
    ...(type.optional ? { default: null } : {}),
  }));
}
