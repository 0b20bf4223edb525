/**
 * Every generated page, from what the program itself uses: the commands and flags of oclif, the
 * option table, the commands of the monitor.
 */
import { readFileSync } from 'node:fs';
import { commands } from '../src/commands/index.js';
import { optionTable } from '../src/commands/options/table.js';
import { deviceTypes } from '../src/hw/device-types.js';
import { allCommands } from '../src/monitor/commands/all.js';
import { eventSummaries } from '../src/monitor/events.js';
import { objectTypes } from '../src/vm/objects/all.js';
import { chardevHelped } from '../src/vm/objects/chardevs.js';
import { netdevHelped } from '../src/vm/objects/netdevs.js';
import { argumentSyntax } from '../src/monitor/hmp/syntax.js';
import type { Command } from '../src/monitor/schema.js';
import { type HelpedKind, valueForm } from '../src/words/named.js';
import type { Fields, SchemaSink } from '../src/words/types.js';
import { pairPage } from './pair-page.js';
import { bold, escape, Page } from './roff.js';

const { version } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as { version: string };

interface FlagInfo {
  char?: string;
  description?: string;
  summary?: string;
  helpValue?: string | string[];
  type: string;
  default?: unknown;
  options?: readonly string[];
}
interface CommandInfo {
  summary?: string;
  description?: string;
  usage?: string | string[];
  examples?: readonly (string | { command: string; description?: string })[];
  args?: Record<string, { description?: string; required?: boolean }>;
  flags?: Record<string, FlagInfo>;
  enableJsonFlag?: boolean;
}
type Named = [name: string, info: CommandInfo];

const named = Object.entries(commands as unknown as Record<string, CommandInfo>).sort(([a], [b]) =>
  a < b ? -1 : 1,
);
const pageName = (command: string) => `colo-${command.replaceAll(':', '-')}`;
const isVm = (name: string) => name === 'primary' || name === 'secondary';

const exitCodes: readonly [string, string][] = [
  ['0', 'done'],
  [
    '1',
    'it failed; the reason is on standard error, or, with --json, as {"error": {"class", ' +
      '"message", "hint", "exit"}} on standard output',
  ],
  ['2', 'a mistake on the command line'],
  ['130, 143', 'ended by a second SIGINT or SIGTERM; a VM ends in order, with 0, on the first'],
];

function main(): Page {
  const page = new Page('colo', 1, 'virtual machines that survive the loss of their host', version);
  page.section_('SYNOPSIS').raw(`${bold('colo')} \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...`);
  page
    .section_('DESCRIPTION')
    .para(
      'A VM runs on a primary host; a secondary host follows it by checkpoints and goes on ' +
        'when the primary is lost. colo(7) teaches the idea.',
    );
  page.section_('COMMANDS');
  for (const [name, info] of named) page.item(`${bold(pageName(name))}(1)`, info.summary ?? '');
  page.section_('EXIT STATUS');
  for (const [code, meaning] of exitCodes) page.item(bold(code), meaning);
  page.section_('ENVIRONMENT');
  page.item(
    bold('XDG_RUNTIME_DIR'),
    'the sockets of named VMs are in its folder colo; without it in /run/user/UID, or in ' +
      '~/.local/state; of those of root in /run/colo, unless this is another than /run/user/0',
  );
  page.item(bold('NO_COLOR'), 'if set, no colours; so does TERM=dumb');
  return page.seeAlso(...everyPage());
}

function everyPage(): [string, number][] {
  return [
    ...named.map(([name]): [string, number] => [pageName(name), 1]),
    ['colo-pair', 5],
    ['colo', 7],
    ['colo-hmp', 7],
    ['colo-qmp', 7],
  ];
}

function commandPage([name, info]: Named): Page {
  const page = new Page(pageName(name), 1, info.summary ?? '', version);
  page.section_('SYNOPSIS');
  for (const line of [info.usage ?? usageOf(name, info)].flat())
    page.raw(`${bold('colo')} ${escape(line)}`).raw('.br');
  page.section_('DESCRIPTION').para(info.description ?? info.summary ?? '');
  if (isVm(name)) {
    page.section_('OPTIONS').para('As in QEMU, with one dash or two; the value is the next word.');
    for (const option of optionTable)
      page.item(
        bold(`-${option.name}`) +
          (option.value === undefined ? '' : ` \\fI${escape(option.value)}\\fR`),
        option.summary,
      );
    kindSections(page);
  } else {
    const args = Object.entries(info.args ?? {});
    const flags = Object.entries({
      ...info.flags,
      ...(info.enableJsonFlag ? { json: jsonFlag } : {}),
    });
    if (args.length + flags.length > 0) page.section_('OPTIONS');
    for (const [arg, { description }] of args)
      page.item(`\\fI${escape(arg.toUpperCase())}\\fR`, description ?? '');
    for (const [flag, declared] of flags)
      page.item(
        flagTerm(flag, declared),
        `${declared.description ?? declared.summary ?? ''}${defaultOf(declared)}`,
      );
  }
  page.section_('EXIT STATUS').para('0 done, 1 failed, 2 a mistake on the command line.');
  if (info.examples && info.examples.length > 0) page.section_('EXAMPLES');
  for (const example of info.examples ?? [])
    page.code(
      (typeof example === 'string' ? example : example.command).replaceAll(
        '<%= config.bin %>',
        'colo',
      ),
    );
  return page.seeAlso(['colo', 1], ['colo-pair', 5], ['colo', 7], ['colo-hmp', 7], ['colo-qmp', 7]);
}

/** What -device, -object, -netdev and -chardev take, from the declarations. */
function kindSections(page: Page): void {
  const devices = deviceTypes.map(type => ({ ...type, fields: type.properties }));
  for (const [title, option, kinds] of [
    ['DEVICES', '-device', devices],
    ['OBJECTS', '-object', objectTypes],
    ['NETDEVS', '-netdev', Object.entries(netdevHelped).map(withName)],
    ['CHARACTER DEVICES', '-chardev', Object.entries(chardevHelped).map(withName)],
  ] as const) {
    page.section_(title);
    for (const { name, summary, fields } of kinds) {
      page.item(bold(`${option} ${name}`), summary);
      if (Object.keys(fields).length === 0) continue;
      page.raw('.RS');
      for (const [property, type] of Object.entries(fields))
        page.item(
          `${bold(property)}=\\fI${escape(valueForm(type))}\\fR`,
          type.summary + (type.optional ? '' : ' (needed)'),
        );
      page.raw('.RE');
    }
  }
}

const withName = ([name, kind]: [string, HelpedKind]) => ({ name, ...kind });

const jsonFlag: FlagInfo = { type: 'boolean', description: 'the result, or the error, as JSON' };

function usageOf(name: string, info: CommandInfo): string {
  const args = Object.entries(info.args ?? {}).map(([arg, { required }]) =>
    required ? arg.toUpperCase() : `[${arg.toUpperCase()}]`,
  );
  return [name.replaceAll(':', ' '), ...args, '[OPTION]...'].join(' ');
}

function flagTerm(name: string, flag: FlagInfo): string {
  const word = [flag.helpValue ?? flag.options?.join('|') ?? 'value'].flat().join(' ');
  const value = flag.type === 'option' ? ` \\fI${escape(word)}\\fR` : '';
  const short = flag.char === undefined ? '' : `${bold(`-${flag.char}`)}, `;
  return `${short}${bold(`--${name}`)}${value}`;
}

const defaultOf = ({ default: given }: FlagInfo) =>
  typeof given === 'number' || typeof given === 'string' ? ` (default ${given})` : '';

function hmpPage(): Page {
  const page = new Page('colo-hmp', 7, 'commands of the human monitor', version);
  page
    .section_('DESCRIPTION')
    .para(
      'Each line is a command: on -monitor, in colo-monitor(1) and colo-hmp(1), and in QMP as ' +
        'human-monitor-command. Names and arguments are those of QEMU. "Words in quotes" may ' +
        'hold blanks, and \\n \\r \\t \\" \\\\ in them. A command whose part a machine lacks is ' +
        'absent from its help.',
    );
  const hmp = allCommands
    .filter(c => c.hmpName !== undefined)
    .sort((a, b) => ((a.hmpName ?? '') < (b.hmpName ?? '') ? -1 : 1));
  for (const [title, wanted] of [
    ['COMMANDS', false],
    ['INFORMATION', true],
  ] as const) {
    page.section_(title);
    for (const c of hmp.filter(one => one.hmpName?.startsWith('info ') === wanted))
      hmpItem(page, c);
  }
  return page.seeAlso(['colo', 1], ['colo', 7], ['colo-qmp', 7]);
}

function hmpItem(page: Page, c: Command): void {
  const args = c.hmp?.args ?? {};
  const syntax = argumentSyntax(args);
  const names = bold([c.hmpName ?? '', ...c.aliases].join('|'));
  page.item(
    syntax === '' ? names : `${names} \\fI${escape(syntax)}\\fR`,
    c.summary,
    ...c.notes,
    ...examples(c),
  );
  const explained = Object.entries(args).filter(
    ([, type]) => type.summary !== '' && type.hmp.form !== 'none',
  );
  if (explained.length === 0) return;
  page.raw('.RS');
  for (const [name, type] of explained)
    page.item(bold(type.hmp.form === 'flag' ? `-${type.hmp.letter}` : name), type.summary);
  page.raw('.RE');
}

const examples = (c: Command) => c.examples.map(example => `Example: ${example}`);

/** The name of a type as query-qmp-schema calls it. */
const names: SchemaSink = { add: name => name, builtin: name => name };

function qmpPage(): Page {
  const page = new Page('colo-qmp', 7, 'commands and events of the machine protocol', version);
  page
    .section_('DESCRIPTION')
    .para(
      'QMP as QEMU speaks it: JSON objects, one after the other. The server greets; the first ' +
        'command is qmp_capabilities. A command is {"execute": NAME, "arguments": {...}, "id": ' +
        'ANY}; the answer holds "return" or "error" and the same id. Events may come at any ' +
        'time. query-qmp-schema tells every type.',
    );
  page.section_('COMMANDS');
  for (const c of allCommands.filter(one => one.qmp).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    page.item(
      bold(c.name),
      c.summary,
      `Returns: ${c.returns?.describe(names) ?? 'nothing'}. Since ${c.since}.`,
      ...(c.hmpName === undefined ? examples(c) : []),
    );
    qmpArguments(page, c.args);
  }
  page.section_('EVENTS');
  for (const [name, summary] of Object.entries(eventSummaries).sort(([a], [b]) => (a < b ? -1 : 1)))
    page.item(bold(name), summary);
  return page.seeAlso(['colo', 1], ['colo', 7], ['colo-hmp', 7]);
}

function qmpArguments(page: Page, args: Fields): void {
  const all = Object.entries(args);
  if (all.length === 0) return;
  page.raw('.RS');
  for (const [name, type] of all)
    page.item(
      `${bold(name)} (${escape(type.describe(names))}${type.optional ? ', optional' : ''})`,
      type.summary,
    );
  page.raw('.RE');
}

export function pages(): Page[] {
  return [main(), ...named.map(commandPage), pairPage(version), hmpPage(), qmpPage()];
}
