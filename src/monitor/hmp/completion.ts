/**
 * What Tab offers and the grey hint says: command names, words that a declaration fixes, and names
 * that the machine knows.
 */
import { objectTypes } from '../../vm/objects/all.js';
import { parameterNames } from '../parameters.js';
import type { Registry } from '../schema.js';
import type { CompletionSource, Fields, Type } from '../../words/types.js';
import type { Vm } from '../../vm/vm.js';
import { splitLine } from './parser.js';
import { argumentWord } from './syntax.js';

export interface Assist {
  readonly candidates: string[];
  /** The part of the line that they replace. */
  readonly word: string;
  /** What may follow, for people: `[-d] uri`; '' if nothing is known. */
  readonly hint: string;
  /** The beginning of a file name: it is completed where the terminal is. */
  readonly path?: string;
}

/** Longer lists are not read. */
const MAX_CANDIDATES = 500;

export function complete(registry: Registry, vm: Vm, line: string): Assist {
  const word = /[^ \t]*$/.exec(line)?.[0] ?? '';
  const before = line.slice(0, line.length - word.length).trim();
  const offer = (words: Iterable<string>, syntax: string) => assist(word, words, syntax);
  if (before === '') return offer(firstWords(registry), syntaxAfter(registry, word));
  if (before === 'info') return offer(infoTopics(registry), syntaxAfter(registry, `info ${word}`));
  if (before === 'help' || before === '?')
    return offer(firstWords(registry), word === '' ? '[name]' : '');
  if (before === 'help info' || before === '? info') return offer(infoTopics(registry), '');
  const { name, argsAt } = splitLine(`${before} `);
  const args = registry.hmp(name)?.hmp?.args;
  if (!args) return offer([], '');
  const given = before
    .slice(argsAt)
    .split(/[ \t]+/)
    .filter(w => w !== '');
  if (word.startsWith('-'))
    return offer(
      Object.values(args).flatMap(t => (t.hmp.form === 'flag' ? [`-${t.hmp.letter}`] : [])),
      '',
    );
  const position = given.filter(w => !/^-[a-zA-Z]$/.test(w)).length;
  const wanted = positional(args)[position]?.[1] ?? restOf(args);
  const found = offer(
    wanted ? valuesFor(wanted, registry, vm) : [],
    word === '' ? syntaxOf(args, position, given) : '',
  );
  const path = pathIn(word) ?? (wanted?.complete === 'files' ? word : undefined);
  return path === undefined ? found : { ...found, path };
}

/**
 * Candidates that begin with the word; a single one is also the hint, and otherwise the syntax is.
 */
export function assist(word: string, words: Iterable<string>, syntax: string): Assist {
  const candidates = [...new Set(words)]
    .filter(w => w.startsWith(word))
    .sort()
    .slice(0, MAX_CANDIDATES);
  const only = word !== '' && candidates.length === 1 && candidates[0] !== word;
  return { candidates, word, hint: only ? candidates[0].slice(word.length) : syntax };
}

/** `file.filename=/im` speaks of the file `/im`. */
export function pathIn(word: string): string | undefined {
  return /(?:^|[=,:])((?:\/|\.\.?\/)[^,=]*)$/.exec(word)?.[1];
}

function firstWords(registry: Registry): string[] {
  return registry.hmpCommands.flatMap(c => [(c.hmpName ?? '').split(' ')[0], ...c.aliases]);
}

function infoTopics(registry: Registry): string[] {
  return registry.hmpCommands.flatMap(c =>
    c.hmpName?.startsWith('info ') ? [c.hmpName.slice(5)] : [],
  );
}

/** Behind a name that is complete. */
function syntaxAfter(registry: Registry, name: string): string {
  const args = registry.hmp(name)?.hmp?.args ?? {};
  const syntax = syntaxOf(args, 0, []);
  return syntax === '' ? '' : ` ${syntax}`;
}

/**
 * What is still to come; the flags only before the first word, and without those that are there.
 */
function syntaxOf(args: Fields, position: number, given: readonly string[]): string {
  const flags = Object.values(args).flatMap(t =>
    t.hmp.form === 'flag' && position === 0 && !given.includes(`-${t.hmp.letter}`)
      ? [`[-${t.hmp.letter}]`]
      : [],
  );
  return [
    ...flags,
    ...positional(args)
      .slice(position)
      .map(([name, type]) => argumentWord(name, type)),
  ].join(' ');
}

const positional = (args: Fields) =>
  Object.entries(args).filter(([, t]) => t.hmp.form === 'word' || t.hmp.form === 'rest');
const restOf = (args: Fields) => Object.values(args).find(t => t.hmp.form === 'rest');

function valuesFor(type: Type, registry: Registry, vm: Vm): Iterable<string> {
  return type.complete === undefined ? (type.words ?? []) : names[type.complete](vm, registry);
}

/** Where the names of each kind come from. files: see Assist.path. */
const names: Readonly<Record<CompletionSource, (vm: Vm, registry: Registry) => Iterable<string>>> =
  {
    commands: (_vm, registry) => firstWords(registry),
    info: (_vm, registry) => infoTopics(registry),
    'block-nodes': ({ block }) =>
      [
        ...block.queryBlock().flatMap(b => [b.device, b.inserted?.['node-name'] ?? '']),
        ...block.queryNamedBlockNodes().map(node => node['node-name']),
      ].filter(name => name !== ''),
    'block-jobs': ({ block }) => block.jobs.query().map(job => job.id),
    capabilities: ({ colo }) => colo.capability.keys(),
    parameters: () => parameterNames,
    netdevs: ({ network }) => network.ids,
    chardevs: ({ chardevs }) => chardevs.info().map(c => c.id),
    objects: ({ objects }) => objects.list().map(o => o.id),
    'object-types': () => objectTypes.map(t => t.name),
    devices: ({ machine }) => machine.deviceInfo().map(d => d.id),
    'trace-events': ({ traces }) => traces.list().map(event => event.name),
    files: () => [],
  };
