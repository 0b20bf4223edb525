/**
 * The form `KIND,id=ID,PROPERTY=VALUE,...` of -object, -netdev, -chardev and -device, and `help` in
 * it.
 */
import { VmError } from '../base/errors.js';
import { type KeyValue, parseKeyValues } from './key-values.js';
import type { Fields, Type } from './types.js';

export interface NamedItems {
  readonly kind: string;
  readonly id: string | undefined;
  /** Of the kind itself. */
  readonly own: readonly KeyValue[];
}

/** kindKey: what the first word is called, as in `qom-type=KIND`. */
export const readNamed = (text: string, kindKey: string): NamedItems =>
  namedItems(parseKeyValues(text, kindKey), kindKey);

export function namedItems(items: readonly KeyValue[], kindKey: string): NamedItems {
  return {
    kind: neededWord(wordIn(items, kindKey), kindKey),
    id: wordIn(items, 'id'),
    own: items.filter(({ key }) => key !== kindKey && key !== 'id'),
  };
}

const wordIn = (items: readonly KeyValue[], key: string) =>
  items.find(item => item.key === key)?.value;

export function neededWord(word: string | undefined, key: string): string {
  if (word === undefined || word === '') throw new VmError(`Parameter '${key}' is missing`);
  return word;
}

/** `help`, or QEMU's older `?`, where a word stands: what there is, a line each. */
export const asksForHelp = (text: string) => text === 'help' || text === '?';

export function listOf(title: string, sentences: Readonly<Record<string, string>>): string {
  const width = Math.max(...Object.keys(sentences).map(name => name.length));
  return [
    title,
    ...Object.entries(sentences).map(([name, sentence]) => `  ${name.padEnd(width)}  ${sentence}`),
  ].join('\n');
}

export interface HelpedKind {
  readonly summary: string;
  readonly fields: Fields;
  /** Lines below the fields. */
  readonly notes?: readonly string[];
}

export const helpedKinds = <K extends string>(
  summaries: Readonly<Record<K, string>>,
  fields: Readonly<Record<K, Fields>>,
): Readonly<Record<string, HelpedKind>> =>
  Object.fromEntries(
    (Object.keys(summaries) as K[]).map(kind => [
      kind,
      { summary: summaries[kind], fields: fields[kind] },
    ]),
  );

/** `help` in the place of the kind, or `KIND,help`; undefined: no help was asked for. */
export function namedHelp(
  text: string,
  title: string,
  kinds: Readonly<Record<string, HelpedKind>>,
  /** Refuses a kind that there is not. */
  kindNamed: (name: string) => string,
): string | undefined {
  const [head, ...rest] = text.split(',');
  if (asksForHelp(head))
    return listOf(
      title,
      Object.fromEntries(Object.entries(kinds).map(([name, { summary }]) => [name, summary])),
    );
  if (!rest.some(asksForHelp)) return undefined;
  const name = kindNamed(head.replace(/^[^=]*=/, ''));
  const { fields, notes = [] } = kinds[name];
  return [fieldsHelp(name, fields), ...notes.map(note => `  ${note}`)].join('\n');
}

/** The keys that something takes. */
export const fieldsHelp = (name: string, fields: Fields): string =>
  [`${name} options:`, ...fieldLines(fields)].join('\n');

function fieldLines(fields: Fields): string[] {
  const lines = Object.entries(fields).map(([name, type]) => {
    return [`${name}=<${valueForm(type)}>`, `${type.summary}${type.optional ? '' : ' (needed)'}`];
  });
  const width = Math.max(0, ...lines.map(([term]) => term.length));
  return lines.map(([term, sentence]) => `  ${term.padEnd(width)}  ${sentence}`);
}

/** `on|off`, `integer`: what may stand behind the =. */
export const valueForm = ({ words, hmp }: Type): string =>
  words?.join('|') ?? (hmp.form === 'word' ? hmp.expected : 'value');
