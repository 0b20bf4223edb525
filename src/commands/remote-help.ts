/**
 * Completion for a monitor that only has its `help` text, as QEMU's: names, aliases, flags and
 * fixed words come from the syntax that it shows; where that asks for a name of a thing, from what
 * the QMP server lists.
 */
import { type Assist, assist, pathIn } from '../monitor/hmp/completion.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { isObject } from '../words/types.js';

export interface RemoteCommand {
  /** Name and aliases; `info block` is a name. */
  readonly names: readonly string[];
  /** `[-d]`, `uri`, `on|off`: as help shows them. */
  readonly syntax: readonly string[];
}

/**
 * From the texts of `help` and `info`: a line that is none of a command's first ones is passed
 * over.
 */
export function parseHelp(text: string): RemoteCommand[] {
  return text.split('\n').flatMap(line => {
    const match = /^(info )?([a-zA-Z?][\w?|.-]*)(.*)$/.exec(line);
    if (!match) return [];
    const [, info = '', words, rest] = match;
    const end = rest.search(/ -- /);
    // QEMU breaks the syntax of some commands over several lines; the flags of the first are still
    // worth having.
    if (end < 0 && !/^ \[/.test(rest)) return [];
    const names = words.split('|').map(name => `${info}${name}`);
    const syntax = (end < 0 ? rest : rest.slice(0, end))
      .split(/ +/)
      .filter(token => token !== '' && token !== words);
    return [{ names, syntax }];
  });
}

/** client: for names that only a question to the server tells. */
export async function assistFromHelp(
  commands: readonly RemoteCommand[],
  line: string,
  namesOf: (kind: NameKind) => Promise<readonly string[]>,
): Promise<Assist> {
  const word = /[^ \t]*$/.exec(line)?.[0] ?? '';
  const before = line
    .slice(0, line.length - word.length)
    .trim()
    .replace(/[ \t]+/g, ' ');
  const asked = /^(help|\?)( |$)/.exec(before);
  const names = commands.flatMap(c => c.names);
  const prefix = (asked ? before.slice(asked[0].length) : before).trim();
  if (prefix === '' || prefix === 'info')
    return assist(
      word,
      secondWords(names, prefix),
      asked ? '' : syntaxHint(commands, `${prefix} ${word}`.trim()),
    );
  if (asked) return assist(word, [], '');
  const command = commands.find(c =>
    c.names.some(name => before === name || before.startsWith(`${name} `)),
  );
  if (!command) return withPath(assist(word, [], ''), word);
  const name = command.names.find(n => before === n || before.startsWith(`${n} `)) ?? '';
  const given = before
    .slice(name.length)
    .split(' ')
    .filter(w => w !== '' && !/^-[a-zA-Z]$/.test(w));
  if (word.startsWith('-')) return assist(word, flagsOf(command), '');
  const wanted = argumentsOf(command).slice(given.length);
  const candidates = wanted.length === 0 ? [] : await valuesFor(command, wanted[0], namesOf);
  return withPath(assist(word, candidates, word === '' ? wanted.join(' ') : ''), word);
}

function withPath(found: Assist, word: string): Assist {
  const path = pathIn(word);
  return path === undefined ? found : { ...found, path };
}

const secondWords = (names: readonly string[], prefix: string) =>
  prefix === ''
    ? names.map(name => name.split(' ')[0])
    : names
        .filter(name => name.startsWith(`${prefix} `))
        .map(name => name.slice(prefix.length + 1));

function syntaxHint(commands: readonly RemoteCommand[], name: string): string {
  const syntax = commands.find(c => c.names.includes(name))?.syntax ?? [];
  return syntax.length === 0 ? '' : ` ${syntax.join(' ')}`;
}

/** `[-n]`, `[-d][-o]`, `[-z|-l]`. */
const flagsOf = ({ syntax }: RemoteCommand) =>
  syntax.flatMap(token => token.match(/-[a-zA-Z](?![\w-])/g) ?? []);
const argumentsOf = ({ syntax }: RemoteCommand) =>
  syntax.filter(token => !/^\[?-[a-zA-Z]\b/.test(token) && token !== '/fmt');

/** Things that have names, by the word that help uses for them. */
export type NameKind =
  'block' | 'capability' | 'parameter' | 'chardev' | 'netdev' | 'device' | 'object';
const kindOfArgument: Readonly<Record<string, NameKind>> = {
  device: 'block',
  node: 'block',
  parent: 'block',
  capability: 'capability',
  parameter: 'parameter',
};
const kindOfCommand: Readonly<Record<string, NameKind>> = {
  'chardev-remove': 'chardev',
  'chardev-change': 'chardev',
  'chardev-send-break': 'chardev',
  netdev_del: 'netdev',
  set_link: 'netdev',
  device_del: 'device',
  object_del: 'object',
};

async function valuesFor(
  { names }: RemoteCommand,
  argument: string,
  namesOf: (kind: NameKind) => Promise<readonly string[]>,
): Promise<readonly string[]> {
  const bare = argument.replace(/[[\]]/g, '');
  if (/^[\w-]+(\|[\w-]+)+$/.test(bare) && !bare.startsWith('-')) {
    const words = bare.split('|');
    return words.includes('device')
      ? [...(await namesOf('block')), ...words.filter(w => w !== 'device')]
      : words;
  }
  const own = /^(id|name|device)$/.test(bare) ? kindOfCommand[names[0]] : undefined;
  const kind = own ?? kindOfArgument[bare];
  if (kind !== undefined) return namesOf(kind);
  return bare === 'state' && names[0] === 'migrate_set_capability' ? ['on', 'off'] : [];
}

/** What the server has of a kind, now. Servers that cannot say offer nothing. */
export async function askNames(
  client: QmpClient,
  kind: NameKind,
  timeoutMs: number,
): Promise<string[]> {
  const ask = async (command: string, args?: object) =>
    client.execute(command, args, timeoutMs).catch(() => undefined);
  const members = (answer: unknown, ...keys: string[]) =>
    Array.isArray(answer)
      ? answer.flatMap(item =>
          isObject(item)
            ? keys
                .map(key => item[key])
                .filter((name): name is string => typeof name === 'string' && name !== '')
            : [],
        )
      : [];
  switch (kind) {
    case 'block':
      return [
        ...members(await ask('query-block'), 'device'),
        ...members(await ask('query-named-block-nodes'), 'node-name'),
      ].filter(name => !name.startsWith('#'));
    case 'capability':
      return members(await ask('query-migrate-capabilities'), 'capability');
    case 'parameter': {
      const answer = await ask('query-migrate-parameters');
      return isObject(answer) ? Object.keys(answer) : [];
    }
    case 'chardev':
      return members(await ask('query-chardev'), 'label');
    case 'netdev':
      return (await client.hmp('info network', timeoutMs).catch(() => ''))
        .split('\n')
        .flatMap(line => /(?:^|\\ )([A-Za-z][\w.-]*): /.exec(line)?.[1] ?? []);
    case 'device':
      return children(await ask('qom-list', { path: '/machine/peripheral' }));
    case 'object':
      return children(await ask('qom-list', { path: '/objects' }));
  }
}

/** Children of a QOM path: properties of type `child<...>`. */
function children(answer: unknown): string[] {
  if (!Array.isArray(answer)) return [];
  return answer.flatMap(item =>
    isObject(item) && typeof item['name'] === 'string' && String(item['type']).startsWith('child<')
      ? [item['name']]
      : [],
  );
}
