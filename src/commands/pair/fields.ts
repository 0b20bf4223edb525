/**
 * The kinds of value that a pair definition holds. A word means what its type in words/ says; what
 * is added here is YAML: lists, groups, and where in the file a mistake is.
 */
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type LineCounter,
  type Node,
  type Scalar,
  type YAMLMap,
} from 'yaml';
import { asVmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { parseSocketUri } from '../../migration/uri.js';
import { valueForm } from '../../words/named.js';
import { bool, int, oneOf, size, str, type Type } from '../../words/types.js';
import { UsageError } from '../options/argv.js';

/** A node of the file, with its name for people: `disks[0].primary`. */
export interface YamlPlace {
  readonly file: string;
  readonly lines: LineCounter;
  readonly path: string;
  readonly node: Node | null;
  /** Where to point when there is no node: what should have held it. */
  readonly offset: number;
}

export interface Kind<T> {
  /** What the manual calls it. */
  readonly form: string;
  /** For `map` and `list`: what is inside. */
  readonly inner?: PairFields;
  parse(place: YamlPlace): T;
}

export interface PairField<T = unknown, Needed extends boolean = boolean> {
  readonly kind: Kind<T>;
  readonly needed: Needed;
  readonly summary: string;
  readonly example: string;
}
export type PairFields = Readonly<Record<string, PairField>>;
type ParsedField<F> =
  F extends PairField<infer T, infer Needed> ? (Needed extends true ? T : T | undefined) : never;
export type Parsed<F extends PairFields> = { readonly [K in keyof F]: ParsedField<F[K]> };

export const need = <T>(kind: Kind<T>, summary: string, example: string): PairField<T, true> => ({
  kind,
  needed: true,
  summary,
  example,
});
export const maybe = <T>(kind: Kind<T>, summary: string, example: string): PairField<T, false> => ({
  kind,
  needed: false,
  summary,
  example,
});

export function positionOf({
  file,
  lines,
  node,
  offset,
}: Pick<YamlPlace, 'file' | 'lines' | 'node' | 'offset'>): string {
  const { line, col } = lines.linePos(node?.range?.[0] ?? offset);
  return `${file}:${line}:${col}`;
}

export function mistake(place: YamlPlace, message: string, hint?: string): UsageError {
  return new UsageError(
    `${positionOf(place)}: ${place.path === '' ? '' : `${place.path}: `}${message}`,
    { hint },
  );
}

function scalar(place: YamlPlace, form: string): Scalar {
  if (isScalar(place.node) && place.node.value !== null) return place.node;
  const found = isMap(place.node)
    ? 'a group of keys'
    : isSeq(place.node)
      ? 'a list'
      : isAlias(place.node)
        ? 'an alias'
        : 'nothing';
  throw mistake(
    place,
    `${form} is wanted here, this is ${found}`,
    isAlias(place.node) ? 'Aliases (*NAME) are not taken: write the value.' : undefined,
  );
}

/** As it is written, so that 0644 or 1e3 stay what they look like. */
function wordOf(place: YamlPlace, form: string): string {
  const node = scalar(place, form);
  return typeof node.value === 'string' ? node.value : (node.source ?? String(node.value));
}

/** A word that means what it means on a command line. form: as the manual says it. */
function leaf<T>(type: Type<T>, form = valueForm(type), hint?: string): Kind<T> {
  return {
    form,
    parse(place) {
      const word = wordOf(place, form);
      const value = type.fromWord(word);
      if (value !== undefined) return value;
      const meant = type.words ? `.${didYouMean(word, type.words)}` : '';
      throw mistake(place, `'${word}' is not ${form}${meant}`, hint);
    },
  };
}

const where = (form: string, holds: (word: string) => boolean): Type<string> => ({
  ...str(),
  hmp: { form: 'word', expected: form },
  fromWord: word => (holds(word) ? word : undefined),
});

export const nonEmpty = (form = 'a text') =>
  leaf(where(form, word => word !== '' && !word.includes('\0')));
export const matching = (pattern: RegExp, form: string, hint?: string) =>
  leaf(
    where(form, word => pattern.test(word)),
    form,
    hint,
  );
export const sizeIn = (unit: 'B' | 'M') =>
  leaf(
    size('', unit),
    'a size',
    unit === 'M' ? 'Examples: 512 (MiB), 2048M, 2G.' : 'Examples: 512M, 20G.',
  );
export const integer = (min: number, max: number): Kind<number> =>
  leaf(int('', { min, max }), `a number from ${min} to ${max}`);
export const choice = <const W extends readonly string[]>(...words: W): Kind<W[number]> =>
  leaf(oneOf(words), words.join(' or '));

const truths: Readonly<Record<string, boolean>> = { true: true, false: false };
/** As YAML has it. */
export const truth: Kind<boolean> = leaf(
  { ...bool(), words: Object.keys(truths), fromWord: word => truths[word] },
  'true or false',
);

/** `tcp:HOST:PORT` or `unix:PATH` that one side can listen on and the other connect to. */
export const address: Kind<string> = {
  form: 'tcp:HOST:PORT or unix:PATH',
  parse(place) {
    const given = wordOf(place, this.form);
    try {
      parseSocketUri(given, 'connect', 'the address');
      return given;
    } catch (error) {
      throw mistake(
        place,
        asVmError(error).message,
        'Give the address of the secondary as the primary reaches it: tcp:10.0.0.2:8888 or ' +
          'unix:/run/colo.sock.',
      );
    }
  },
};

export function items<T>(item: Kind<T>): Kind<T[]> {
  return {
    form: `a list of ${item.inner ? 'groups' : item.form}`,
    inner: item.inner,
    parse(place) {
      if (!isSeq(place.node))
        throw mistake(
          place,
          `${this.form} is wanted here`,
          'Each item begins with a dash on a line of its own.',
        );
      return place.node.items.map((node, i) =>
        item.parse({ ...place, path: `${place.path}[${i}]`, node: node as Node }),
      );
    },
  };
}

export function map<F extends PairFields>(fields: F): Kind<Parsed<F>> {
  return {
    form: 'a group',
    inner: fields,
    parse(place) {
      if (!isMap(place.node))
        throw mistake(
          place,
          'a group of keys is wanted here',
          `It takes ${Object.keys(fields).join(', ')}.`,
        );
      const given = membersOf(place, place.node, fields);
      const out: Record<string, unknown> = {};
      for (const [key, { kind, needed, example }] of Object.entries(fields)) {
        const member = given.get(key);
        if (member) out[key] = kind.parse(member);
        else if (needed) throw mistake(place, `'${key}' is missing`, `Example: ${key}: ${example}`);
      }
      return out as Parsed<F>;
    },
  };
}

function membersOf(place: YamlPlace, node: YAMLMap, fields: PairFields): Map<string, YamlPlace> {
  const given = new Map<string, YamlPlace>();
  const below = (key: string) => (place.path === '' ? key : `${place.path}.${key}`);
  for (const { key, value } of node.items) {
    const where: YamlPlace = { ...place, node: key as Node };
    const name = isScalar(key) ? String(key.value) : '?';
    if (!Object.hasOwn(fields, name))
      throw mistake(
        where,
        `there is no key '${name}' here.${didYouMean(name, Object.keys(fields))}`,
        `It takes ${Object.keys(fields).join(', ')}.`,
      );
    given.set(name, {
      ...place,
      path: below(name),
      node: value as Node | null,
      offset: where.node?.range?.[0] ?? place.offset,
    });
  }
  return given;
}
