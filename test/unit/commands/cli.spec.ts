/**
 * Goal: the command line as a user or a script meets it: results on standard output, the rest on
 * standard error, exit codes 0, 1, 2, JSON when asked, colours only on a terminal. Method: the real
 * process, from the sources, against a monitor of the test.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../../src/commands/address.js';
import { wantsColour } from '../../../src/commands/output.js';
import { assistFromHelp, parseHelp } from '../../../src/commands/remote-help.js';
import { commandArguments } from '../../../src/commands/qmp.js';
import type { RememberingVm } from '../../support/remembering-vm.js';
import { type FakeQmp, fakeQmp } from '../../support/fake-qmp.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
let qmp: FakeQmp;
let vm: RememberingVm;
let dir: string;
let address: string;

beforeAll(async () => {
  qmp = await fakeQmp();
  ({ vm, dir } = qmp);
  address = `unix:${qmp.path}`;
});
afterAll(() => qmp.close());

function colo(
  args: string[],
  input = '',
): Promise<{ out: string; err: string; code: number | null }> {
  const env = { ...process.env, NODE_OPTIONS: '', FORCE_COLOR: undefined };
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, ...args],
    { env },
  );
  const result = { out: '', err: '', code: null as number | null };
  child.stdout.on('data', (bytes: Buffer) => (result.out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (result.err += bytes.toString()));
  child.stdin.end(input);
  return new Promise(resolve => child.once('close', code => resolve({ ...result, code })));
}

test('qmp: the result as JSON', async () => {
  expect(await colo(['qmp', address, 'query-status'])).toEqual({
    out: '{"running": true, "status": "running"}\n',
    err: '',
    code: 0,
  });
});

test('qmp: arguments as JSON or one by one', async () => {
  vm.calls.length = 0;
  expect((await colo(['qmp', address, 'migrate', "{'uri': 'tcp:h:1'}"])).code).toBe(0);
  expect(
    (
      await colo([
        'qmp',
        address,
        'nbd-server-add',
        '--arg',
        'device=disk0',
        '--arg',
        'writable=true',
      ])
    ).code,
  ).toBe(0);
  expect(vm.calls).toEqual(['migrate "tcp:h:1"', 'nbd-add {"device":"disk0","writable":true}']);
});

test('qmp: a command that fails is exit code 1, in words and in JSON', async () => {
  expect(await colo(['qmp', address, 'nbd-server-stop'])).toEqual({
    out: '',
    err: 'Error: NBD server not running\n',
    code: 1,
  });
  const { out, code } = await colo(['qmp', address, 'nope', '--json']);
  expect([JSON.parse(out), code]).toEqual([
    {
      error: { class: 'CommandNotFound', message: 'The command nope has not been found', exit: 1 },
    },
    1,
  ]);
});

test('qmp: arguments from a file, events that come in time or not', async () => {
  vm.calls.length = 0;
  const file = join(dir, 'args.json');
  writeFileSync(file, '{"uri": "tcp:h:2"}');
  expect((await colo(['qmp', address, 'migrate', '--json', `@${file}`])).code).toBe(0);
  expect(vm.calls).toEqual(['migrate "tcp:h:2"']);
  const { out, code } = await colo(['qmp', address, 'stop', '--wait-event', 'STOP:5']);
  expect([
    out
      .split('\n')
      .slice(0, 2)
      .map(line => JSON.parse(line) as unknown),
    code,
  ]).toEqual([[{}, { event: 'STOP', timestamp: { seconds: 0, microseconds: 0 } }], 0]);
  expect(await colo(['qmp', address, '--wait-event', 'RESET:0.1'])).toEqual({
    out: '',
    err: 'Error: no RESET within 0.1 s\n',
    code: 1,
  });
  expect((await colo(['qmp', address, 'cont', '--wait-event', 'reset'])).code).toBe(2);
  expect((await colo(['qmp', address])).code).toBe(2);
  expect((await colo(['qmp', address, 'cont'])).code).toBe(0);
});

test('a command that does not exist is a mistake of usage', async () => {
  expect((await colo(['bogus'])).code).toBe(2);
});

test('qmp: mistakes of usage are exit code 2', async () => {
  expect(await colo(['qmp', 'tcp:here', 'query-status'])).toEqual({
    out: '',
    err:
      "Error: 'tcp:here' is not an address: 'here' is not HOST:PORT\nAn address is the -name of " +
      'a VM on this host (see colo list), or unix:PATH or tcp:HOST:PORT as given to -qmp.\n',
    code: 2,
  });
  expect((await colo(['qmp', address, 'stop', '{'])).code).toBe(2);
  expect((await colo(['qmp'])).code).toBe(2);
});

test('hmp: migrate without -d waits for the end, and says what it was', async () => {
  const { query } = vm.colo;
  const told = (...answers: object[]) => {
    let n = 0;
    Object.assign(vm.colo, { query: () => answers[Math.min(n++, answers.length - 1)] });
  };
  told({ status: 'setup' }, { status: 'active' }, { status: 'failed', error: 'no route' });
  expect(await colo(['hmp', address, 'migrate tcp:h:1'])).toEqual({
    out: '',
    err: 'Error: migrate tcp:h:1: no route\n',
    code: 1,
  });
  told({ status: 'active' }, { status: 'completed' });
  expect(await colo(['hmp', address, 'migrate tcp:h:1', 'info name'])).toEqual({
    out: 'Migration status: completed\ntest\n',
    err: '',
    code: 0,
  });
  told({ status: 'active' });
  expect(await colo(['hmp', address, 'migrate -d tcp:h:1'])).toEqual({ out: '', err: '', code: 0 });
  const { err, code } = await colo(['hmp', address, 'migrate tcp:h:1', '--timeout', '1']);
  expect([err, code]).toEqual([
    'Error: migrate tcp:h:1: nothing of the migration has moved for 1 s (active); it goes on\n',
    1,
  ]);
  told({ status: 'active' }, { status: 'failed', error: 'no route' });
  const script = await colo(['monitor', address], 'migrate tcp:h:1\ninfo name\n');
  expect([script.out, script.code]).toEqual(['Error: no route\n', 1]);
  Object.assign(vm.colo, { query });
});

test('hmp: output as it is; a line that fails is exit code 1', async () => {
  expect(await colo(['hmp', address, 'info status', 'info name'])).toEqual({
    out: 'VM status: running\ntest\n',
    err: '',
    code: 0,
  });
  expect(await colo(['hmp', address, 'stpo'])).toEqual({
    out: '',
    err: "Error: stpo: unknown command: 'stpo'\nDid you mean 'stop'?\n",
    code: 1,
  });
  expect(JSON.parse((await colo(['hmp', address, 'info name', '--json'])).out)).toEqual([
    { line: 'info name', output: 'test\n' },
  ]);
});

test('monitor on a pipe: plain lines', async () => {
  const input = '# a script\ninfo name\n\nstpo\ninfo kvm\n';
  const failed = { err: 'Error: standard input:4: this line failed: stpo\n', code: 1 };
  const mistake = "unknown command: 'stpo'\nDid you mean 'stop'?\n";
  expect(await colo(['monitor', address], input)).toEqual({ out: `test\n${mistake}`, ...failed });
  expect(await colo(['monitor', address, '--keep-going'], input)).toEqual({
    out: `test\n${mistake}kvm support: disabled\n`,
    ...failed,
  });
  const file = join(dir, 'script');
  writeFileSync(file, 'info name\ninfo kvm');
  expect(await colo(['monitor', address, '--script', file, '--echo'])).toEqual({
    out: '(colo) info name\ntest\n(colo) info kvm\nkvm support: disabled\n',
    err: '',
    code: 0,
  });
  expect(await colo(['monitor', address, '--script', `${file}.no`])).toMatchObject({
    out: '',
    code: 1,
  });
});

test('primary: a mistake names the option, exit code 2', async () => {
  const { out, err, code } = await colo(['primary', '-kernel', 'k', '-vnc', '7']);
  expect({ out, err, code }).toEqual({
    out: '',
    err:
      "Error: -vnc 7: '7' is not HOST:DISPLAY, as in 127.0.0.1:7, which is port 5907; nor " +
      'none\n',
    code: 2,
  });
});

test(
  'no command takes a missing word from standard input: a script that is read there stays ' +
    'whole',
  async () => {
    const { commands } = await import('../../../src/commands/index.js');
    const args = Object.entries(commands).flatMap(([id, { args: declared }]) =>
      Object.entries(declared ?? {}).map(([name, arg]) => ({ id, name, arg })),
    );
    expect(args.length).toBeGreaterThan(10);
    expect(
      args.filter(({ arg }) => (arg as { ignoreStdin?: boolean }).ignoreStdin !== true),
    ).toEqual([]);
  },
);

test('help lists every option', async () => {
  const { out, code } = await colo(['secondary', '--help']);
  expect(code).toBe(0);
  for (const word of ['-incoming URI', '-drive OPTS', 'EXAMPLES', 'OPTIONS (as in QEMU'])
    expect(out).toContain(word);
});

test('colours only on a terminal that wants them', () => {
  const tty = { isTTY: true };
  expect(wantsColour(tty, {})).toBe(true);
  expect(wantsColour({}, {})).toBe(false);
  expect(wantsColour(tty, { NO_COLOR: '1' })).toBe(false);
  expect(wantsColour(tty, { NO_COLOR: '' })).toBe(true);
  expect(wantsColour(tty, { TERM: 'dumb' })).toBe(false);
});

test('addresses', () => {
  expect(parseAddress('tcp:[::1]:4444')).toEqual({ kind: 'tcp', host: '::1', port: 4444 });
  expect(parseAddress('tcp::4444')).toEqual({ kind: 'tcp', host: 'localhost', port: 4444 });
  expect(() => parseAddress('tcp:h:99999')).toThrow("'99999' is not a port number");
  expect(() => parseAddress('/run/x')).toThrow('is not an address');
});

test('arguments of a command', () => {
  expect(commandArguments(undefined, ['a=1', 'b=text', 'c={"d":[true]}', 'e='])).toEqual({
    a: 1,
    b: 'text',
    c: { d: [true] },
    e: '',
  });
  expect(() => commandArguments('{}', ['a=1'])).toThrow('not both');
  expect(() => commandArguments('[]', [])).toThrow('not a JSON object');
  expect(() => commandArguments(undefined, ['a'])).toThrow('not NAME=VALUE');
});

test('completion against any server, from its own help', async () => {
  const help =
    'stop|s  -- stop emulation\ninfo status  -- show\ninfo name -- show\nset_link name on|off ' +
    '-- change\ndrive_mirror [-n] [-f] device target [format] -- begin\n\t\t\tcopy of a -- ' +
    'thing\ncommit device|all -- commit\nno dashes\nnbd_server_add nbd_server_add [-w] device ' +
    '[name] -- export\ndump-guest-memory [-p] [-z|-l] filename -- dump\ndrive_add [-n] ' +
    '[[<domain>:]<bus>:]<slot>\n[file=file] -- add\n';
  const commands = parseHelp(help);
  expect(commands.flatMap(c => c.names)).toEqual([
    'stop',
    's',
    'info status',
    'info name',
    'set_link',
    'drive_mirror',
    'commit',
    'nbd_server_add',
    'dump-guest-memory',
    'drive_add',
  ]);
  const ask = (line: string) =>
    assistFromHelp(commands, line, kind =>
      Promise.resolve(kind === 'block' ? ['d0', 'node0'] : [`${kind}0`]),
    );
  expect(await ask('st')).toEqual({ candidates: ['stop'], word: 'st', hint: 'op' });
  expect((await ask('info s')).candidates).toEqual(['status']);
  expect((await ask('help inf')).candidates).toEqual(['info']);
  expect((await ask('help info n')).candidates).toEqual(['name']);
  expect(await ask('drive_mirror')).toMatchObject({ hint: ' [-n] [-f] device target [format]' });
  expect(await ask('drive_mirror -f ')).toMatchObject({
    candidates: ['d0', 'node0'],
    hint: 'device target [format]',
  });
  expect((await ask('drive_mirror -')).candidates).toEqual(['-f', '-n']);
  expect((await ask('dump-guest-memory -')).candidates).toEqual(['-l', '-p', '-z']);
  expect(await ask('drive_mirror d0 /im')).toMatchObject({ candidates: [], path: '/im' });
  expect((await ask('set_link ')).candidates).toEqual(['netdev0']);
  expect((await ask('set_link n0 o')).candidates).toEqual(['off', 'on']);
  expect((await ask('commit ')).candidates).toEqual(['all', 'd0', 'node0']);
  expect((await ask('nbd_server_add -w n')).candidates).toEqual(['node0']);
  expect(await ask('bogus x')).toEqual({ candidates: [], word: 'x', hint: '' });
});

test('an address without an answer is given up after --timeout', async () => {
  const silent = createServer(() => undefined);
  const where = join(dir, 'silent');
  await new Promise<void>(resolve => silent.listen(where, resolve));
  const { err, code } = await colo(['hmp', `unix:${where}`, 'info status', '--timeout', '1']);
  silent.close();
  expect([err, code]).toEqual([`Error: unix:${where}: no QMP greeting within 1 s\n`, 1]);
});
