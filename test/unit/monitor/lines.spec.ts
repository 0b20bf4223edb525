/**
 * Goal: HMP for a script on a pipe or socket: prompt, output, order, bounds. Method: the monitor on
 * a channel whose peer is the test.
 */
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { MAX_LINE_BYTES } from '../../../src/monitor/hmp/lines.js';
import { HmpMonitor } from '../../../src/monitor/hmp/monitor.js';
import { FakeChar, settle } from '../../support/fake-char.js';
import { rememberingVm } from '../../support/remembering-vm.js';

function start(label = 'unix:/run/hmp') {
  const vm = rememberingVm();
  const chr = new FakeChar(label);
  const log: string[] = [];
  const monitor = new HmpMonitor(vm, monitorRegistry, chr, {
    wallMs: () => 0,
    log: line => log.push(line),
  });
  chr.connect();
  return { vm, chr, monitor, log };
}

const banner = "colo 0.1.0 monitor - type 'help' for more information\n(qemu) ";

test('lines in, text out; no echo, no colours, no events', async () => {
  const { chr } = start('stdio');
  chr.type('info sta');
  chr.type('tus\nstop\r\n\ninfo status\n');
  await settle();
  expect(chr.output).toBe(
    `${banner}VM status: running\n(qemu) (qemu) (qemu) VM status: paused\n(qemu) `,
  );
});

test('a socket gets CR LF', async () => {
  const { chr } = start();
  chr.type('info name\n');
  await settle();
  expect(chr.output).toBe(`${banner}test\n(qemu) `.replaceAll('\n', '\r\n'));
});

test('a line that is too long is dropped whole', async () => {
  const { chr } = start('stdio');
  chr.type(Buffer.alloc(MAX_LINE_BYTES + 1, 'x'));
  chr.type(Buffer.alloc(10_000, 'y'));
  chr.type('stop\ninfo name\n');
  await settle();
  expect(chr.output).toBe(
    `${banner}Error: a line has at most ${MAX_LINE_BYTES} bytes\n(qemu) test\n(qemu) `,
  );
});

test('end of input: what was typed is run, then the monitor hangs up; the VM stays', async () => {
  const { chr, vm } = start('stdio');
  chr.type('info name');
  chr.endInput();
  await settle();
  expect(chr.output).toBe(`${banner}test\n(qemu) `);
  expect(chr.hungUp).toBe(1);
  expect(vm.calls).toEqual([]);
});

test('migrate without -d waits until it is settled', async () => {
  const { chr, vm } = start('stdio');
  let status: 'active' | 'colo' = 'active';
  Object.assign(vm.colo, { query: () => ({ status }) });
  chr.output = '';
  chr.type('migrate tcp:h:1\ninfo name\n');
  await settle();
  expect(chr.output).toBe('');
  status = 'colo';
  vm.machine.events.emit('MIGRATION', { status });
  await settle();
  expect(chr.output).toBe('(qemu) test\n(qemu) ');
});
