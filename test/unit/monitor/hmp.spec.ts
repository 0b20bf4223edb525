/**
 * Goal: a line of HMP does what QEMU's would do, and every mistake is text that says what to do.
 * Method: the shell over a machine that only remembers; help against a golden copy (set
 * UPDATE_GOLDEN=1 to write it).
 */
import { parameterValues } from '../../../src/monitor/parameters.js';
import fc from 'fast-check';
import { allCommands, monitorRegistry } from '../../../src/monitor/commands/all.js';
import { complete } from '../../../src/monitor/hmp/completion.js';
import { parseArgs, splitLine } from '../../../src/monitor/hmp/parser.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { notOffered, whyNotOffered } from '../../../src/monitor/not-offered.js';
import { flag, int, optional, rest, size, str } from '../../../src/words/types.js';
import { rememberingVm } from '../../support/remembering-vm.js';
import { expectGolden } from '../../support/golden.js';

function shell(vm = rememberingVm(), mayWait = false) {
  const hmp = new HmpShell(monitorRegistry, vm, mayWait);
  return {
    vm,
    run: (line: string) => hmp.run(line),
    completions: (line: string) => complete(monitorRegistry, vm, line).candidates,
  };
}

test('words, quotes, escapes, flags, rest', () => {
  const fields = { detach: flag('d'), wait: flag('w'), uri: str(), name: optional(str()) };
  const parse = (line: string) => parseArgs(fields, line, splitLine(line).argsAt);
  expect(parse('migrate tcp:h:1')).toEqual({ uri: 'tcp:h:1' });
  expect(parse('migrate  -d\t-w tcp:h:1 n ')).toEqual({
    detach: true,
    wait: true,
    uri: 'tcp:h:1',
    name: 'n',
  });
  expect(parse('migrate "a \\"b\\"\\n" -d')).toEqual({ uri: 'a "b"\n', detach: true });
  expect(() => parse('migrate -x a')).toThrow('unsupported option -x');
  expect(() => parse('migrate')).toThrow('string expected');
  expect(() => parse('migrate a b c')).toThrow('extraneous characters at the end of line');
  expect(() => parse('migrate "a')).toThrow('unterminated string');
  expect(() => parse('migrate "a\\q"')).toThrow("unsupported escape code: '\\q'");
  expect(parseArgs({ bus: str(), options: rest() }, 'drive_add b  a=1, "x" ', 9)).toEqual({
    bus: 'b',
    options: 'a=1, "x"',
  });
});

test('numbers and sizes', () => {
  const parse = (line: string) =>
    parseArgs({ f: flag('f'), n: int('', { min: -5 }), s: optional(size('', 'M')) }, line, 0);
  expect(parse('-5 2G')).toEqual({ n: -5, s: 2 ** 31 });
  expect(parse('-f 0x10 1.5k')).toEqual({ f: true, n: 16, s: 1536 });
  expect(parse('3 512')).toEqual({ n: 3, s: 512 << 20 });
  expect(() => parse('-6')).toThrow("integer expected, not '-6'");
  expect(() => parse('1 2X')).toThrow("size expected, not '2X'");
});

test('whatever is typed, the shell answers with text', async () => {
  const { run } = shell();
  const names = allCommands.flatMap(c => (c.hmpName === undefined ? [] : [c.hmpName]));
  const line = fc.oneof(
    fc.string(),
    fc
      .tuple(
        fc.constantFrom(...names),
        fc.array(
          fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('-d', '"x', '-a', 'on', '1')),
          { maxLength: 4 },
        ),
      )
      .map(([n, words]) => [n, ...words].join(' ')),
  );
  await fc.assert(
    fc.asyncProperty(line, async text => expect(typeof (await run(text))).toBe('string')),
  );
});

const details = '    Attached to: nothing\n    Cache mode: writeback\n    mode: primary\n';

/** As a stock QEMU 7.2 says it, where QEMU has the same sentence. */
test.each([
  ['foo bar', "unknown command: 'foo'\n"],
  ['info foo', "unknown command: 'info foo'\n"],
  ['stpo', "unknown command: 'stpo'\nDid you mean 'stop'?\n"],
  ['info colod', "unknown command: 'info colod'\nDid you mean 'info colo'?\n"],
  ['migrate', 'migrate: string expected\nTry "help migrate" for more information\n'],
  ['migrate -x a', 'migrate: unsupported option -x\nTry "help migrate" for more information\n'],
  [
    'stop foo',
    'stop: extraneous characters at the end of line\nTry "help stop" for more information\n',
  ],
  [
    'migrate_set_capability x-colo',
    `migrate_set_capability: 'on' or 'off' expected\nTry "help migrate_set_capability" for ` +
      `more information\n`,
  ],
  [
    'migrate_set_capability x-clo on',
    "Error: Parameter 'capability' does not accept value 'x-clo'\nThis machine has: x-colo, " +
      "events. Did you mean 'x-colo'?\n",
  ],
  [
    'migrate_set_parameter foo 1',
    'Error: invalid parameter value: foo\nParameters: max-bandwidth, downtime-limit, ' +
      'xbzrle-cache-size, tls-creds, tls-hostname, x-checkpoint-delay, x-checkpoint-gap, ' +
      'x-heartbeat-interval, x-heartbeat-timeout, x-sync-from, x-checkpoint-events.\n',
  ],
  [
    'migrate_set_parameter x-checkpoint-delay abc',
    "Error: Parameter 'x-checkpoint-delay' expects an integer, not 'abc'\n",
  ],
  [
    'nbd_server_start foo',
    "Error: error parsing address 'foo'\nGive HOST:PORT, [IPV6]:PORT or unix:PATH.\n",
  ],
  ['nbd_server_start -w h:1', 'Error: -w only valid together with -a\n'],
  ['x_colo_lost_heartbeat', "Error: The feature 'colo' is not enabled\n"],
  ['info status', 'VM status: running\n'],
  ['info version', '7.2.0 (colo 0.1.0)\n'],
  ['info name', 'test\n'],
  ['info uuid', '00000000-0000-0000-0000-000000000000\n'],
  ['info kvm', 'kvm support: disabled\n'],
  ['info migrate', 'Migration status: none\n'],
  ['info migrate_capabilities', 'x-colo: off\nevents: off\n'],
  [
    'info migrate_parameters',
    'max-bandwidth: 134217728 bytes/second\ndowntime-limit: 300 ms\n' +
      'xbzrle-cache-size: 67108864 bytes\n' +
      "tls-creds: ''\ntls-hostname: ''\n" +
      'x-checkpoint-delay: 20000 ms\nx-checkpoint-gap: 500 ms\nx-checkpoint-events: off\n' +
      'x-heartbeat-interval: 1000 ms\nx-heartbeat-timeout: 5000 ms\nx-sync-from: none\n',
  ],
  ['info colo', 'mode: none\nlast mode: none\nexit reason: none\n'],
  ['info block', `disk0 (node0): /images/a.img (raw), 1048576 bytes\n${details}`],
  ['info network', 'hn0: type=tap,ifname=tap0,link=up\n'],
  ['info registers 1', 'Error: CPU not available\nThis machine has CPU 0.\n'],
  ['help stop', 'stop|s -- stop emulation\n'],
  ['help foo', "unknown command: 'foo'\n"],
  ['   ', ''],
])('%s', async (line, output) => {
  expect(await shell().run(line)).toBe(output);
});

test('commands reach the machine', async () => {
  const { run, vm } = shell();
  for (const line of [
    'migrate -d tcp:h:1',
    'migrate_set_capability x-colo on',
    'migrate_set_parameter x-checkpoint-delay 2000',
    'migrate_set_parameter max-bandwidth 1g',
    'nbd_server_start -a -w localhost:10809',
    'nbd_server_start unix:/run/nbd',
    'nbd_server_add -w disk0 name',
    'x_blockdev_change disk0 node1',
    'x_blockdev_change -d disk0 children.1',
    'system_reset',
    'system_powerdown',
    'quit',
  ])
    expect(await run(line)).toBe('');
  expect(vm.calls).toEqual([
    'migrate "tcp:h:1"',
    'nbd-start {"kind":"tcp","host":"localhost","port":10809}',
    'nbd-add {"device":"disk0","writable":true}',
    'nbd-start {"kind":"unix","path":"/run/nbd"}',
    'nbd-add {"device":"disk0","name":"name","writable":true}',
    'change {"parent":"disk0","node":"node1"}',
    'change {"parent":"disk0","child":"children.1"}',
    'reset',
    'powerdown',
    'quit',
  ]);
  expect(vm.colo.capability.get('x-colo')).toBe(true);
  expect(parameterValues(vm)).toMatchObject({
    'x-checkpoint-delay': 2000,
    'max-bandwidth': 2 ** 30,
  });
});

test('completion', () => {
  const { completions } = shell();
  expect(completions('sto')).toEqual(['stop']);
  expect(completions('info mig')).toEqual([
    'migrate',
    'migrate_capabilities',
    'migrate_parameters',
  ]);
  expect(completions('migrate_set_capability ')).toEqual(['events', 'x-colo']);
  expect(completions('migrate_set_capability x-colo o')).toEqual(['off', 'on']);
  expect(completions('migrate_set_parameter x-s')).toEqual(['x-sync-from']);
  expect(completions('nbd_server_add -')).toEqual(['-w']);
  expect(completions('nbd_server_add -w d')).toEqual(['disk0']);
  expect(completions('help x_c')).toEqual([
    'x_colo_leave',
    'x_colo_lost_heartbeat',
    'x_colo_switchover',
  ]);
});

test(
  'what QEMU has and this machine has not is refused with the reason, in both monitors, in ' +
    'either spelling',
  async () => {
    const { run } = shell();
    const registry = monitorRegistry;
    for (const name of notOffered) {
      const reason = whyNotOffered(name)!;
      const hmpName = name.startsWith('query-')
        ? `info ${name.slice(6).replaceAll('-', '_')}`
        : name.replaceAll('-', '_');
      expect([
        registry.hmp(hmpName),
        registry.qmpCommands.includes(name),
        /\.$/.test(reason),
      ]).toEqual([undefined, false, true]);
      expect(await run(hmpName)).toBe(`unknown command: '${hmpName}'\n${reason}\n`);
      expect(() => registry.qmp(name)).toThrow(
        expect.objectContaining({
          message: `The command ${name} has not been found`,
          options: { class: 'CommandNotFound', hint: reason },
        }) as Error,
      );
    }
    expect(await run('help device_add')).toContain('The PCI bus');
  },
);

test('a command that takes arguments has an example', () => {
  const taking = allCommands.filter(c => Object.keys(c.hmp?.args ?? c.args).length > 0);
  expect(taking.filter(c => c.examples.length === 0).map(c => c.name)).toEqual([]);
});

test('every declaration is whole: HMP flags do not clash, summaries are there', () => {
  for (const c of allCommands) {
    expect([c.name, c.summary]).not.toEqual([c.name, '']);
    const letters = Object.values(c.hmp?.args ?? {}).flatMap(t =>
      t.hmp.form === 'flag' ? [t.hmp.letter] : [],
    );
    expect([c.name, new Set(letters).size]).toEqual([c.name, letters.length]);
    expect([c.name, Object.values(c.hmp?.args ?? {}).some(t => t.hmp.form === 'none')]).toEqual([
      c.name,
      false,
    ]);
  }
});

test('an example is a line that can be run', () => {
  for (const c of allCommands) {
    for (const example of c.examples) {
      if (c.hmp === undefined) expect(() => JSON.parse(example) as object).not.toThrow();
      else {
        const { name, argsAt } = splitLine(example);
        expect([example, [c.hmpName, ...c.aliases].includes(name)]).toEqual([example, true]);
        expect(() => parseArgs(c.hmp!.args, example, argsAt)).not.toThrow();
      }
    }
  }
});

test('help, golden', async () => {
  const { run } = shell();
  const lines = [
    'help',
    'help info',
    ...allCommands.flatMap(c => (c.hmpName === undefined ? [] : [`help ${c.hmpName}`])),
  ];
  let text = '';
  for (const line of lines) text += `(colo) ${line}\n${await run(line)}`;
  expectGolden(new URL('../../golden/hmp-help.txt', import.meta.url), text);
});
