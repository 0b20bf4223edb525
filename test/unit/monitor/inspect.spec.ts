/**
 * Goal: what the monitor shows of memory, expressions, channels, traces and links is what is there.
 * Method: the shell over the machine of the tests for words; a real vCPU's page tables for
 * addresses (skipped by name where the addon is not built).
 */
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { AddonRam } from '../../../src/accel/ram.js';
import { registerValue } from '../../../src/accel/registers.js';
import { VcpuImage } from '../../../src/accel/vcpu-image.js';
import { SteppedVm } from '../../../src/accel/vm.js';
import { translate } from '../../../src/accel/walk.js';
import { VmError } from '../../../src/base/errors.js';
import { event, tracer } from '../../../src/base/trace.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { evaluate } from '../../../src/monitor/hmp/expression.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { TraceSwitches } from '../../../src/vm/traces.js';
import { rememberingVm } from '../../support/remembering-vm.js';
import { Assembler, loadToyGuest } from '../../support/toy-guest.js';

const vm = rememberingVm();
const registry = monitorRegistry;
const shell = new HmpShell(registry, vm, false);
const context = { registry, hmp: (line: string) => shell.run(line), mayWait: false };
const qmp = (name: string, args: Record<string, unknown> = {}) =>
  registry.qmp(name).runQmp(vm, args, context);

test.each([
  ['print 1+2*3', '0x7\n'],
  ['p 0', '0\n'],
  ['p/o 8', '010\n'],
  ['p/u ~0', '18446744073709551615\n'],
  ['p/d -(2 - 5) % 2 | 0x10', '17\n'],
  ['p/x $rip+010', '0x1008\n'],
  ["p/c 'a'+1", "'b'\n"],
  ['p/d ~0', '-1\n'],
  ['p 1/0', 'Error: division by zero\n'],
  ['p $nope', 'Error: unknown register $nope\n'],
  ['p (1', "Error: ')' expected\n"],
  ['xp/4xb 0x10', '0000000000000010: 0x10 0x11 0x12 0x13\n'],
  [
    'xp/3xg 8',
    '0000000000000008: 0x0f0e0d0c0b0a0908 0x1716151413121110\n0000000000000018: ' +
      '0x1f1e1d1c1b1a1918\n',
  ],
  ['xp 4', '0000000000000004: 0x07060504\n'],
  ['xp /1xw 4', '0000000000000004: 0x07060504\n'],
  [
    'xp/10xb 0',
    '0000000000000000: 0x00 0x01 0x02 0x03 0x04 0x05 0x06 0x07\n0000000000000008: 0x08 0x09\n',
  ],
  ['xp/3dh 0xfe', '00000000000000fe:    -2   256   770\n'],
  ['xp/2ub 9', '0000000000000009:   9  10\n'],
  ['xp/2og 0', '0000000000000000:  034060120200300400400  074160320601302404410\n'],
  ['xp/1cw 0x41', "0000000000000041: 'A' 'B' 'C' 'D'\n"],
  ['xp/2c 0x41', "0000000000000041: 'A' 'B'\n"],
  ['xp/2i 0', "Error: invalid char 'i' in format\nThere is no disassembler.\n"],
  ['xp 0x10000', 'Error: Cannot access memory at 0x10000\n'],
  ['xp/999999x 0', 'Error: a count is at most 4096\n'],
  ['xp', 'xp: string expected\nTry "help xp" for more information\n'],
  ['x/2x 0', 'Error: Cannot access memory at 0x0\n'],
  ['info chardev', 'serial0: filename=disconnected:unix:/run/s,server=on\n'],
  ['trace-event nope on', 'Error: unknown event "nope"\n'],
])('%s', async (line, output) => {
  expect(await shell.run(line)).toBe(output);
});

test('whatever is typed as an expression, the answer is a number or a VmError', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: fc.constantFrom(...'0123456789abcx+-*/%&|^~() $') }),
  );
  fc.assert(
    fc.property(text, words => {
      try {
        expect(typeof evaluate(words, () => 1n)).toBe('bigint');
      } catch (error) {
        expect(error).toBeInstanceOf(VmError);
      }
    }),
  );
  expect(() => evaluate('('.repeat(100_000), () => 0n)).toThrow('nested too deeply');
  expect(() => evaluate('-'.repeat(100_000), () => 0n)).toThrow('nested too deeply');
});

test('trace events: by name, by pattern, printed while they are on', async () => {
  const trace = tracer('inspecttest', { one: event<{ value: number }>(), two: event() });
  const printed: string[] = [];
  const switches = new TraceSwitches(line => printed.push(line));
  Object.assign(vm, { traces: switches });
  expect(await qmp('trace-event-get-state', { name: 'inspecttest_*' })).toEqual([
    { name: 'inspecttest_one', state: 'disabled' },
    { name: 'inspecttest_two', state: 'disabled' },
  ]);
  expect(await shell.run('trace-event inspect*_one on')).toBe('');
  expect(await shell.run('info trace-events inspecttest*')).toBe(
    'inspecttest_one : state 1\ninspecttest_two : state 0\n',
  );
  trace.one?.({ value: 5 });
  trace.two?.({});
  await qmp('trace-event-set-state', { name: 'inspecttest_one', enable: false });
  trace.one?.({ value: 6 });
  expect(printed).toEqual(['inspecttest_one value=5']);
  await expect(qmp('trace-event-get-state', { name: 'inspecttest' })).rejects.toThrow(
    'unknown event "inspecttest"',
  );
  switches.dispose();
});

test('blockdev-add passes what it does not know; set_link reaches the netdev', async () => {
  vm.calls.length = 0;
  await qmp('blockdev-add', {
    driver: 'raw',
    'node-name': 'n',
    file: { driver: 'file', filename: '/x' },
  });
  await expect(qmp('blockdev-add', { driver: 'raw' })).rejects.toThrow(
    "Parameter 'node-name' is missing",
  );
  await qmp('set_link', { name: 'hn0', up: false });
  expect(await shell.run('set_link hn0 on')).toBe('');
  expect(vm.calls).toEqual([
    'blockdev-add {"driver":"raw","node-name":"n","file":{"driver":"file","filename":"/x"}}',
    'set-link ["hn0",false]',
    'set-link ["hn0",true]',
  ]);
});

const built = existsSync(new URL('../../../native/build/Release/colo.node', import.meta.url));
(built ? test : test.skip)('page tables (skipped where the addon is not built)', () => {
  const guest = new SteppedVm(new AddonRam(8 << 20));
  try {
    loadToyGuest(guest, new Assembler(0x10_0000).hlt());
    const cpu = new VcpuImage(guest.cpus[0].save());
    expect(translate(guest.ram, cpu, 0x12_3456n)).toBe(0x12_3456n);
    expect(translate(guest.ram, cpu, 0x1_0000_0000n)).toBeUndefined();
    expect(registerValue(cpu, 'rip')).toBe(0x10_0000n);
    expect(registerValue(cpu, 'cs')).toBe(8n);
    expect(registerValue(cpu, 'nope')).toBeUndefined();
    cpu.setControl('cr0', 1n);
    expect(translate(guest.ram, cpu, 0x1_0000_0000n)).toBe(0n);
    cpu.setControl('cr0', 0x8000_0001n);
    cpu.setControl('efer', 0n);
    cpu.setControl('cr4', 0n);
    cpu.setControl('cr3', 0x20_0000n);
    guest.ram.writeU32(0x20_0000 + 4, 0x20_1003);
    guest.ram.writeU32(0x20_1000 + 8, 0x30_5003);
    expect(translate(guest.ram, cpu, 0x40_2abcn)).toBe(0x30_5abcn);
    expect(translate(guest.ram, cpu, 0x40_3000n)).toBeUndefined();
  } finally {
    guest.dispose();
  }
});
