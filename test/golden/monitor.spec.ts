/**
 * Goal: what a person reads in the monitor changes only on purpose: results on a wide and on a
 * narrow terminal and on a pipe, help, and mistakes. Method: sessions against a VM that only
 * remembers, against a copy; UPDATE_GOLDEN=1 renews it, and the commit shows what changed.
 */
import { HmpShell } from '../../src/monitor/hmp/shell.js';
import type { Style } from '../../src/monitor/hmp/style.js';
import { monitorRegistry } from '../../src/monitor/commands/all.js';
import { rememberingVm } from '../support/remembering-vm.js';
import { expectGolden } from '../support/golden.js';

const results = [
  'info block',
  'info network',
  'info pci',
  'info chardev',
  'info migrate',
  'info migrate_capabilities',
  'info migrate_parameters',
  'info nbd',
  'info colo',
  'info status',
];
const mistakes = [
  'stpo',
  'info nmae',
  'info',
  'migrate',
  'migrate -x tcp:h:1',
  'migrate_set_capability x-colo maybe',
  'migrate_set_capability x-cool on',
  'migrate_set_parameter x-checkpoint-delay soon',
  'set_link hn0',
  'nbd_server_start nowhere',
  'print "',
  'x/5000xg 0',
  'help migrate',
];

async function transcript(title: string, lines: readonly string[], style?: Style): Promise<string> {
  const vm = rememberingVm();
  const ratio = (name: string) => (name === 'cacheHits' ? 0.873 : 655);
  const costs = { pauseMs: [1.6, 4.6], pages: [1336, 0], ramBytes: [5_472_256, 0] };
  const percentile = (measure: keyof typeof costs, p: number) => costs[measure][p === 0.5 ? 0 : 1];
  Object.assign(vm.now.colo, { mode: 'primary', statistics: { done: 61, percentile, ratio } });
  Object.assign(vm.now.migration, {
    status: 'colo',
    transferredBytes: 5 << 20,
    remainingPages: 0,
    ramTotalBytes: 256 << 20,
    passes: 3,
    totalMs: 812,
  });
  const filter = { name: 'colo-buffer', type: 'filter-buffer', direction: 'rx', status: 'on' };
  const netdev = {
    id: 'hn0',
    type: 'tap',
    link: 'up',
    properties: { ifname: 'tap0' },
    mac: '52:54:00:12:34:56',
    filters: [{ ...filter, properties: {} }],
  };
  Object.assign(vm.network, { netdevs: [{ info: () => netdev }] });
  const bar = { index: 0, type: 'io', address: 0xc000, size: 64 };
  Object.assign(vm.machine, {
    pciInfo: () => [
      {
        bus: 0,
        slot: 3,
        function: 0,
        id: 'virtio-disk0',
        description: 'SCSI controller',
        vendor: 0x1af4,
        device: 0x1042,
        irqPin: 1,
        irq: 11,
        bars: [bar, { ...bar, index: 4, type: 'memory', address: undefined, size: 16384 }],
      },
    ],
  });
  const shell = new HmpShell(monitorRegistry, vm, false);
  let text = `==== ${title}\n`;
  for (const line of lines) text += `(colo) ${line}\n${await shell.run(line, style)}`;
  return text;
}

test('sessions', async () => {
  const text = [
    await transcript('on a pipe', results),
    await transcript('on a terminal of 100 columns', results, { columns: 100, colour: false }),
    await transcript('on a terminal of 40 columns', results, { columns: 40, colour: false }),
    await transcript('with colours', ['info block'], { columns: 100, colour: true }),
    await transcript('mistakes, and help', mistakes),
  ].join('\n');
  expectGolden(new URL('monitor.txt', import.meta.url), text);
});
