/** What is written to the log, and where the log is. */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { hmpCommand } from '../schema.js';
import { rest, str } from '../../words/types.js';
import { matchingTraces } from './channels.js';

/** QEMU's items that this machine has, as trace events. */
const items: Readonly<Record<string, readonly string[]>> = {
  guest_errors: [
    'mmio_unmapped_*',
    'ioport_unmapped_*',
    'virtio_needs_reset*',
    'pci_bar_collides*',
    'serial_overrun*',
  ],
};
const known = ['none', ...Object.keys(items), 'trace:PATTERN'];

export const logCommands = [
  hmpCommand({
    name: 'log',
    since: '0.1',
    summary: 'activate logging of the specified items',
    notes: [
      'none: nothing any more. guest_errors: what a sane driver does not do. trace:PATTERN: ' +
        'trace events, * stands for anything.',
      'Only what is named stays on.',
    ],
    examples: ['log guest_errors,trace:colo_*', 'log none'],
    args: { items: str(`${known.join(', ')}; comma separated`) },
    run: (vm, { items: wanted }) => {
      const on = new Set(
        wanted
          .split(',')
          .flatMap(patternsOf)
          .flatMap(pattern => matchingTraces(vm, pattern).map(event => event.name)),
      );
      const traces = vm.traces;
      for (const { name } of traces.list()) traces.set(name, on.has(name));
      return undefined;
    },
  }),
  hmpCommand({
    name: 'logfile',
    since: '0.1',
    summary: 'output logs to the given file',
    examples: ['logfile /tmp/colo.log'],
    args: { filename: { ...rest('lines are appended'), complete: 'files' } },
    run: (vm, { filename }) => {
      vm.host.process.logInto(filename);
      return undefined;
    },
  }),
];

function patternsOf(item: string): readonly string[] {
  if (item === 'none') return [];
  if (item.startsWith('trace:')) return [item.slice('trace:'.length)];
  if (Object.hasOwn(items, item)) return items[item];
  throw new VmError(`Unknown log item '${item}'`, {
    hint: `Items: ${known.join(', ')}.${didYouMean(item, known)}`,
  });
}
