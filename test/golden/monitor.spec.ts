/**
 * Goal: what a person reads in the monitor changes only on purpose: results on a wide and on a
 * narrow terminal and on a pipe, help, and mistakes. Method: sessions against a machine that only
 * remembers, against a copy; UPDATE_GOLDEN=1 renews it, and the commit shows what changed.
 */
import { HmpShell } from '../../src/monitor/hmp/shell.js';
import type { Style } from '../../src/monitor/hmp/style.js';
import { registryFor } from '../../src/monitor/commands/all.js';
import { fakeControl } from '../support/fake-control.js';
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
  const vm = fakeControl();
  Object.assign(vm.colo!, {
    status: () => ({ mode: 'primary', 'last-mode': 'none', reason: 'none' }),
    statistics: () => ({
      checkpoints: 61,
      pauseMs: { p50: 1.6, p99: 4.6 },
      pagesPerCheckpoint: 1336,
      bytesPerCheckpoint: 5_472_256,
    }),
  });
  Object.assign(vm.migration!, {
    info: () => ({
      status: 'colo',
      ram: { transferred: 5 << 20, remaining: 0, total: 256 << 20, 'dirty-sync-count': 3 },
      'total-time': 812,
    }),
  });
  Object.assign(vm.network!, {
    info: () => [
      'hn0: type=tap,ifname=tap0,link=on,mac=52:54:00:12:34:56',
      '  - colo-buffer: type=filter-buffer,queue=rx,status=on',
    ],
  });
  const bar = { index: 0, type: 'io', address: 0xc000, size: 64 };
  Object.assign(vm.inspect!, {
    pci: () => [
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
  const shell = new HmpShell(registryFor(vm), vm, false);
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
