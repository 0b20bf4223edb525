/**
 * A pair definition as text: each key with its summary above it, those that were not given as
 * comments to uncomment.
 */
import { stringify } from 'yaml';
import type { PairField, PairFields } from './fields.js';
import { pairFields } from './schema.js';

export type Value =
  string | number | boolean | readonly Value[] | { readonly [key: string]: Value | undefined };
export type Values = Readonly<Record<string, Value | undefined>>;

export function writePair(values: Values): string {
  const head = [
    `# A pair for colo, the same file on both hosts; colo-pair(5) tells every key.`,
    '#   on the secondary: colo secondary --config THIS',
    '#   on the primary:   colo primary --config THIS',
    '',
  ];
  return `${[...head, ...members(pairFields, values, true)].join('\n')}\n`;
}

/** Given keys first: a list item begins with one. */
function members(fields: PairFields, values: Values, apart: boolean): string[] {
  const entries = Object.entries(fields);
  const given = entries.filter(([key]) => values[key] !== undefined);
  const others = entries.filter(([key]) => values[key] === undefined);
  const blocks = [
    ...given.map(([key, field]) => [
      `# ${field.summary}`,
      ...member(key, field, values[key] ?? ''),
    ]),
    ...others.map(([key, field]) => [`# ${field.summary}`, `# ${key}: ${field.example}`]),
  ];
  return apart ? blocks.flatMap(block => [...block, '']).slice(0, -1) : blocks.flat();
}

function member(key: string, { kind }: PairField, value: Value): string[] {
  const inner = kind.inner;
  if (inner && isList(value))
    return [`${key}:`, ...value.flatMap(item => listItem(members(inner, item as Values, false)))];
  if (inner) return [`${key}:`, ...members(inner, value as Values, false).map(indent)];
  return [`${key}: ${stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trimEnd()}`];
}

/** The dash stands before the first key; comments above it stay above the dash. */
function listItem(lines: readonly string[]): string[] {
  const first = lines.findIndex(line => !line.startsWith('#'));
  return lines.map((line, n) =>
    n < first ? indent(line) : n === first ? `  - ${line}` : `    ${line}`,
  );
}

const indent = (line: string) => `  ${line}`;
const isList = (value: Value): value is readonly Value[] => Array.isArray(value);
