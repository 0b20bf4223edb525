/**
 * Goal: whatever a client sends, and however its bytes are cut: no crash, no hang, an answer for
 * each command, and the machine is as it was; other clients do not notice. Method: random JSON,
 * near misses of real commands, and random lines, into sessions over one machine.
 */
import fc from 'fast-check';
import { event, tracer } from '../../../src/base/trace.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { QmpServer } from '../../../src/monitor/qmp/server.js';
import { FakeChar, settle } from '../../support/fake-char.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const vm = rememberingVm();
const registry = monitorRegistry;
const world = { wallMs: () => 0, log: () => undefined };

function connect() {
  const chr = new FakeChar();
  const server = new QmpServer(vm, registry, chr, world);
  chr.connect();
  return { chr, server };
}

const word = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.constantFrom(
    'execute',
    'exec-oob',
    'arguments',
    'id',
    'instances',
    'type',
    'migration',
    'uri',
    'enable',
    'x-colo',
    '__proto__',
    'constructor',
    ...registry.qmpCommands,
  ),
);
const value: fc.Arbitrary<unknown> = fc.letrec(tie => ({
  any: fc.oneof(
    { maxDepth: 3 },
    word,
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('any'), { maxLength: 3 }),
    fc.dictionary(word, tie('any'), { maxKeys: 3 }),
  ),
})).any;
/** Not those that end or change the machine for the tests after them. */
const harmless = registry.qmpCommands.filter(
  name => name !== 'quit' && name !== 'qmp_capabilities',
);
const request = fc.record({
  execute: fc.constantFrom(...harmless),
  arguments: fc.option(fc.dictionary(word, value, { maxKeys: 3 }), { nil: undefined }),
  id: fc.integer(),
});

test('QMP: requests that are nearly right get one answer each, in order, however the bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat(400), { maxLength: 6 }),
      async (requests, cuts) => {
        const { chr, server } = connect();
        chr.type('{"execute":"qmp_capabilities"}');
        await settle();
        chr.take();
        const wire = Buffer.from(requests.map(r => JSON.stringify(r)).join(''));
        const at = [...new Set([0, ...cuts.map(c => Math.min(c, wire.length)), wire.length])].sort(
          (a, b) => a - b,
        );
        for (const [i, end] of at.slice(1).entries()) chr.type(wire.subarray(at[i], end));
        for (let i = 0; i < 40 && !chr.output.includes(`"id":${requests.at(-1)!.id}`); i++)
          await settle();
        const answers = chr.take().filter(m => !('event' in m));
        expect(answers.map(m => m['id'])).toEqual(requests.map(r => r.id));
        for (const answer of answers)
          expect(
            'return' in answer || /\S/.test(String((answer['error'] as { desc: string }).desc)),
          ).toBe(true);
        server.dispose();
      },
    ),
    { numRuns: 150 },
  );
});

test('QMP: bytes that are nothing leave the session usable, and hold no memory', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.string({ unit: fc.constantFrom(...'{}[]"\':,\\ \n0atrufe'), maxLength: 60 }),
        ),
        { maxLength: 6 },
      ),
      async chunks => {
        const { chr, server } = connect();
        for (const chunk of chunks) chr.type(chunk as string);
        // 0xff ends whatever was open, as in QEMU.
        chr.type(Uint8Array.of(0xff));
        chr.type('\n{"execute":"qmp_capabilities","id":"end"}');
        for (let i = 0; i < 40 && !chr.output.includes('"end"'); i++) await settle();
        expect(chr.take().at(-1)).toMatchObject({ id: 'end' });
        server.dispose();
      },
    ),
    { numRuns: 150 },
  );
});

test('HMP: a line gives text, and never throws', async () => {
  const shell = new HmpShell(registry, vm, false);
  const names = registry.hmpCommands.map(c => c.hmpName ?? '').filter(name => name !== 'quit');
  const argument = fc.oneof(
    word,
    fc.constantFrom(
      '-a',
      '-d',
      '-w',
      '"',
      '\\',
      '/4xg',
      '$rip',
      '(((',
      '0x',
      '-1',
      '1e9',
      'on',
      'off',
      'trace:*',
      'a=b,c',
    ),
  );
  const line = fc.oneof(
    fc.string({ maxLength: 80 }),
    fc
      .tuple(fc.constantFrom(...names, 'info', 'x/', 'help'), fc.array(argument, { maxLength: 4 }))
      .map(([name, args]) => [name, ...args].join(' ')),
  );
  await fc.assert(
    fc.asyncProperty(
      line.filter(text => !/^\s*(q|quit)\b/.test(text)),
      async text => {
        const output = await shell.run(text);
        expect(output === '' || output.endsWith('\n')).toBe(true);
        expect(output.length).toBeLessThan(1 << 20);
      },
    ),
    { numRuns: 400 },
  );
});

test(
  'a client that leaves in the middle of a command, and one that floods: the next one does not ' +
    'notice',
  async () => {
    const [rude, flood, calm] = [connect(), connect(), connect()];
    for (const { chr } of [rude, flood, calm]) chr.type('{"execute":"qmp_capabilities"}');
    await settle();
    calm.chr.take();
    rude.chr.type('{"execute":"stop","arguments":{');
    rude.chr.disconnect();
    flood.chr.reading = false;
    for (let i = 0; i < 200; i++)
      flood.chr.type(`{"execute":"query-qmp-schema"}${' '.repeat(5000)}`);
    calm.chr.type('{"execute":"query-status","id":7}');
    await settle();
    expect(calm.chr.take()).toMatchObject([{ id: 7 }]);
    expect(flood.chr.paused).toBe(true);
    for (const { server } of [rude, flood, calm]) server.dispose();
  },
);

test('log: items are trace events; what is not named goes off; a wrong one changes nothing', async () => {
  tracer('serial', { overrun: event() });
  tracer('fuzztest', { one: event(), two: event() });
  const shell = new HmpShell(registry, vm, false);
  const on = () =>
    vm
      .traces!.list()
      .filter(event => event.on)
      .map(event => event.name);
  expect(await shell.run('log guest_errors,trace:fuzztest_*')).toBe('');
  expect(on()).toEqual(expect.arrayContaining(['fuzztest_one', 'fuzztest_two', 'serial_overrun']));
  expect(await shell.run('log guest_erors')).toBe(
    "Error: Unknown log item 'guest_erors'\nItems: none, guest_errors, trace:PATTERN. Did you " +
      "mean 'guest_errors'?\n",
  );
  expect(await shell.run('log trace:fuzztest_one')).toBe('');
  expect(on()).toEqual(['fuzztest_one']);
  await shell.run('log none');
  expect(on()).toEqual([]);
  await shell.run('logfile /var/log/a b');
  expect(vm.calls.at(-1)).toBe('log-into "/var/log/a b"');
});

test('info accel follows the machine', async () => {
  const shell = new HmpShell(registry, vm, false);
  expect(await shell.run('info accel')).toBe('* soft\n  kvm\n');
  Object.assign(vm.machine.accel, { name: 'kvm' });
  expect(await shell.run('info accelerators')).toBe('  soft\n* kvm\n');
  Object.assign(vm.machine.accel, { name: 'soft' });
  Object.assign(vm.host.accelerators, { kvmPresent: false });
  expect(await shell.run('info accel')).toBe('* soft\n');
});
