/** Character devices, network links, trace events. */
import { VmError } from '../../base/errors.js';
import { command, hmpCommand, hmp } from '../schema.js';
import { bool, list, oneOf, optional, str, struct } from '../../words/types.js';
import type { Vm } from '../../vm/vm.js';

const chardev = struct('ChardevInfo', { label: str(), filename: str(), 'frontend-open': bool() });
const traceEvent = struct('TraceEventInfo', {
  name: str(),
  state: oneOf(['disabled', 'enabled'], '', { name: 'TraceEventState' }),
});

export const channelCommands = [
  command({
    name: 'query-chardev',
    since: '0.1',
    summary: 'show the character devices',
    returns: list(chardev),
    run: vm =>
      vm.chardevs.info().map(c => ({
        label: c.id,
        filename: `${c.connected ? '' : 'disconnected:'}${c.label}`,
        'frontend-open': c.used,
      })),
    show: all => all.map(c => `${c.label}: filename=${c.filename}`).join('\n'),
    table: all => ({
      head: ['CHARDEV', 'FILENAME', 'IN USE'],
      rows: all.map(c => [c.label, c.filename, c['frontend-open'] ? 'yes' : 'no']),
    }),
  }),
  command({
    name: 'set_link',
    since: '0.1',
    summary: 'change the link status of a netdev',
    notes: ['With the link off, packets are dropped both ways, as with the cable out.'],
    examples: ['set_link hn0 off'],
    args: { name: str('netdev', { complete: 'netdevs' }), up: bool('on: the cable is in') },
    run: (vm, { name, up }) => vm.network.setLink(name, up),
  }),
  command({
    name: 'trace-event-get-state',
    hmpName: 'info trace-events',
    since: '0.1',
    summary: 'show available trace-events & their state',
    examples: ['info trace-events colo*'],
    args: { name: str('name, or pattern with *', { complete: 'trace-events' }) },
    returns: list(traceEvent),
    run: (vm, { name }) => states(vm, name),
    hmp: hmp(
      {
        name: optional(str('name, or pattern with *; default: all', { complete: 'trace-events' })),
      },
      (vm, { name = '*' }) =>
        states(vm, name)
          .map(e => `${e.name} : state ${e.state === 'enabled' ? 1 : 0}`)
          .join('\n'),
    ),
  }),
  command({
    name: 'trace-event-set-state',
    since: '0.1',
    monitors: 'qmp',
    summary: 'switch trace events; they are printed where the log goes',
    examples: ['{"name": "colo_*", "enable": true}'],
    args: {
      name: str('name, or pattern with *'),
      enable: bool(),
      'ignore-unavailable': optional(
        bool('every event that is known is available: it makes no difference'),
      ),
    },
    run: (vm, { name, enable }) => setState(vm, name, enable),
  }),
  hmpCommand({
    name: 'trace-event',
    since: '0.1',
    hmpName: 'trace-event',
    summary: 'changes status of a specific trace event',
    examples: ['trace-event colo_* on'],
    args: {
      name: str('name, or pattern with *', { complete: 'trace-events' }),
      option: bool('on: print it where the log goes'),
    },
    run: (vm, { name, option }) => {
      setState(vm, name, option);
      return undefined;
    },
  }),
];

function states(vm: Vm, pattern: string) {
  return matchingTraces(vm, pattern).map(({ name, on }) => ({
    name,
    state: on ? ('enabled' as const) : ('disabled' as const),
  }));
}

/** A plain name must exist; a pattern may match nothing. */
export function matchingTraces(vm: Vm, pattern: string) {
  const parts = pattern.split('*');
  const events = vm.traces.list();
  if (parts.length === 1) {
    const found = events.filter(event => event.name === pattern);
    if (found.length === 0) throw new VmError(`unknown event "${pattern}"`);
    return found;
  }
  return events.filter(event => globMatch(parts, event.name));
}

/** parts: the pattern, cut at its stars. Linear, whatever a client sends. */
function globMatch(parts: readonly string[], name: string): boolean {
  const [first, ...others] = parts;
  const last = others.pop() ?? '';
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const piece of others) {
    const found = name.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}

function setState(vm: Vm, pattern: string, on: boolean): void {
  const traces = vm.traces;
  for (const { name } of matchingTraces(vm, pattern)) traces.set(name, on);
}
