/** The protocol's own commands: negotiation, what there is, and HMP inside QMP. */
import { eventData, eventNames } from '../events.js';
import { fullHelp, oneLine, unknownCommand } from '../hmp/syntax.js';
import { command, hmpCommand } from '../schema.js';
import type { Registry } from '../schema.js';
import { anything, list, oneOf, optional, rest, str, struct } from '../../words/types.js';

const nameInfo = (type: string) => list(struct(type, { name: str() }));

export const helpCommands = [
  command({
    name: 'qmp_capabilities',
    since: '0.1',
    monitors: 'qmp',
    summary: 'leave negotiation; the first command of every connection',
    examples: ['{}'],
    args: {
      enable: optional(
        list(
          oneOf(['oob'], '', { name: 'QMPCapability' }),
          'capabilities of the greeting to enable',
        ),
      ),
    },
    // The session takes what it has offered (qmp/session.ts).
    run: () => undefined,
  }),
  command({
    name: 'human-monitor-command',
    since: '0.1',
    monitors: 'qmp',
    summary: 'run a line of HMP and return its output',
    examples: ['{"command-line": "info status"}'],
    args: { 'command-line': str('the line') },
    returns: str(),
    run: async (_vm, args, context) =>
      (await context.hmp(args['command-line'])).replaceAll('\n', '\r\n'),
  }),
  command({
    name: 'query-commands',
    since: '0.1',
    monitors: 'qmp',
    summary: 'names of all commands',
    returns: nameInfo('CommandInfo'),
    run: (_vm, _args, { registry }) => registry.qmpCommands.map(name => ({ name })),
  }),
  command({
    name: 'query-events',
    since: '0.1',
    monitors: 'qmp',
    summary: 'names of all events',
    returns: nameInfo('EventInfo'),
    run: () => eventNames.map(name => ({ name: String(name) })),
  }),
  command({
    name: 'query-qmp-schema',
    since: '0.1',
    monitors: 'qmp',
    summary: 'commands, their types, and events',
    returns: list(anything()),
    run: (_vm, _args, { registry }) => registry.schema(eventData),
  }),
  hmpCommand({
    name: 'help',
    since: '0.1',
    aliases: ['?'],
    summary: 'show the help',
    examples: ['help migrate', 'help info block'],
    args: {
      name: optional({
        ...rest('command to explain; none: one line for each'),
        complete: 'commands',
      }),
    },
    run: (_vm, { name }, { registry }) =>
      name === undefined ? overview(registry) : explain(registry, name),
  }),
];

function overview(registry: Registry): string {
  const commands = registry.hmpCommands.filter(c => !c.hmpName?.startsWith('info '));
  return [
    ...commands.map(oneLine),
    'info [topic] -- show various information about the system state',
  ].join('\n');
}

function explain(registry: Registry, name: string): string {
  const words = name.split(/[ \t]+/).join(' ');
  if (words === 'info')
    return registry.hmpCommands
      .filter(c => c.hmpName?.startsWith('info '))
      .map(oneLine)
      .join('\n');
  const found = registry.hmp(words);
  return found ? fullHelp(found) : unknownCommand(registry, words);
}
