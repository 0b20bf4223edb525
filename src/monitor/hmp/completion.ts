/** What Tab offers: command names, words that a declaration fixes, and names that the machine knows. */
import { objectTypes } from '../objects/all.js';
import type { Registry } from '../schema.js';
import type { Completion, Type } from '../types.js';
import type { VmControl } from '../vm.js';
import { splitLine } from './parser.js';

export interface Completions {
  readonly candidates: string[];
  /** The part of the line that they replace. */
  readonly word: string;
}

export function complete(registry: Registry, vm: VmControl, line: string): Completions {
  const word = /[^ \t]*$/.exec(line)?.[0] ?? '';
  const before = line.slice(0, line.length - word.length).trim();
  const offer = (words: Iterable<string>) => ({ candidates: [...new Set(words)].filter(w => w.startsWith(word)).sort(), word });
  if (before === '') return offer(firstWords(registry));
  if (before === 'info') return offer(infoTopics(registry));
  if (before === 'help' || before === '?') return offer(firstWords(registry));
  if (before === 'help info' || before === '? info') return offer(infoTopics(registry));
  const { name, argsAt } = splitLine(`${before} `);
  const args = registry.hmp(name)?.hmp?.args;
  if (!args) return offer([]);
  const given = before.slice(argsAt).split(/[ \t]+/).filter(w => w !== '');
  const all = Object.values(args);
  if (word.startsWith('-')) return offer(all.flatMap(t => (t.hmp.form === 'flag' ? [`-${t.hmp.letter}`] : [])));
  const position = given.filter(w => !/^-[a-zA-Z]$/.test(w)).length;
  const wanted = all.filter(t => t.hmp.form === 'word' || t.hmp.form === 'rest')[position];
  return offer(wanted ? valuesFor(wanted, registry, vm) : []);
}

function firstWords(registry: Registry): string[] {
  return registry.hmpCommands.flatMap(c => [(c.hmpName ?? '').split(' ')[0], ...c.aliases]);
}

function infoTopics(registry: Registry): string[] {
  return registry.hmpCommands.flatMap(c => (c.hmpName?.startsWith('info ') ? [c.hmpName.slice(5)] : []));
}

function valuesFor(type: Type, registry: Registry, vm: VmControl): Iterable<string> {
  return type.complete === undefined ? (type.words ?? []) : names[type.complete](vm, registry);
}

/** Where the names of each kind come from. files: whoever reads the line knows them. */
const names: Readonly<Record<Completion, (vm: VmControl, registry: Registry) => Iterable<string>>> = {
  commands: (_vm, registry) => firstWords(registry),
  info: (_vm, registry) => infoTopics(registry),
  'block-nodes': ({ block }) => [...(block?.info() ?? []), ...(block?.nodes() ?? [])].flatMap(b => [b.device, b.nodeName]).filter(name => name !== ''),
  capabilities: ({ migration }) => migration?.capabilities().map(c => c.capability) ?? [],
  parameters: ({ migration }) => Object.keys(migration?.parameters() ?? {}),
  netdevs: ({ network }) => network?.ids ?? [],
  chardevs: ({ chardevs }) => chardevs?.info().map(c => c.id) ?? [],
  objects: ({ objects }) => objects?.list().map(o => o.id) ?? [],
  'object-types': () => objectTypes.map(t => t.name),
  devices: ({ inspect }) => inspect?.devices().map(d => d.id) ?? [],
  'trace-events': ({ traces }) => traces?.list().map(event => event.name) ?? [],
  files: () => [],
};
