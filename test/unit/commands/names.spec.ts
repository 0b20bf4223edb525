/**
 * Goal: a VM is found by its name, by its user only, and never confused with one that died.
 * Method: the real runtime folder in a temporary place; a machine of the test behind the name; the
 * real `colo` for what a user sees.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../../src/commands/address.js';
import {
  freeName,
  isVmName,
  knownNames,
  liveNames,
  namesDir,
  nameSocket,
  noSuchVm,
  takeName,
} from '../../../src/commands/names.js';
import { adviceFor } from '../../../src/commands/status.js';
import { ageCell, columns, healthFrom } from '../../../src/commands/survey.js';
import { failoverDoubt } from '../../../src/monitor/health.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { QmpClient } from '../../../src/monitor/qmp/client.js';
import type { QmpListener } from '../../../src/monitor/qmp/listener.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const dev = fileURLToPath(new URL('../../../bin/dev.js', import.meta.url));
const runtime = mkdtempSync(join(tmpdir(), 'colo-names-'));
const dir = join(runtime, 'colo');
const notes: string[] = [];
const sockets = { sockets: new NodeSockets(), clock: new NodeClock() };
const world = { ...sockets, wallMs: () => 0, log: (line: string) => void notes.push(line) };
const open: QmpListener[] = [];

afterEach(() => {
  for (const listener of open.splice(0)) listener.dispose();
  notes.length = 0;
});
afterAll(() => rmSync(runtime, { recursive: true }));

async function take(name: string): Promise<QmpListener> {
  const listener = await takeName(name, world, dir);
  if (!listener) throw new Error(notes.join());
  open.push(listener);
  return listener;
}

async function run(name: string) {
  const vm = rememberingVm();
  Object.assign(vm.now.colo, { sinceMs: 42_000, lastCheckpointMs: 90 });
  (await take(name)).serve(vm, monitorRegistry);
  return vm;
}

function colo(...args: string[]): Promise<{ out: string; err: string; code: number | null }> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, ...args],
    { env: { ...process.env, NODE_OPTIONS: '', XDG_RUNTIME_DIR: runtime } },
  );
  const result = { out: '', err: '', code: null as number | null };
  child.stdout.on('data', (bytes: Buffer) => (result.out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (result.err += bytes.toString()));
  return new Promise(resolve => child.once('close', code => resolve({ ...result, code })));
}

test('where the sockets are', () => {
  expect(namesDir({ XDG_RUNTIME_DIR: '/run/x' })).toBe('/run/x/colo');
  expect(namesDir({ HOME: '/h' }, 999_999)).toBe('/h/.local/state/colo/run');
  expect(namesDir({ XDG_RUNTIME_DIR: '/run/user/7' }, 7)).toBe('/run/user/7/colo');
  if (process.getuid?.() !== 0) return;
  // Where a login has its own, and where none has: a service has none.
  for (const env of [{ XDG_RUNTIME_DIR: '/run/user/0' }, {}])
    expect(namesDir({ ...env, HOME: '/h' }, 0)).toBe('/run/colo');
  expect(['pvm', 'a.b-c_1'].every(isVmName)).toBe(true);
  expect(['', '.', '..', '-x', 'a/b', 'unix:x', 'a b', 'x'.repeat(65)].some(isVmName)).toBe(false);
  expect(parseAddress('pvm')).toEqual({ kind: 'unix', path: nameSocket('pvm') });
});

test('a name belongs to one live VM and to its user alone', async () => {
  await run('one');
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  expect(statSync(join(dir, 'one')).mode & 0o777).toBe(0o700);
  await expect(takeName('one', world, dir)).rejects.toThrow(
    '-name one: a VM of this name runs already',
  );
  expect(knownNames(dir)).toEqual(['one']);
  open.splice(0).forEach(listener => listener.dispose());
  await new Promise(resolve => setTimeout(resolve, 20));
  freeName('one', dir);
  expect(existsSync(join(dir, 'one'))).toBe(false);
});

test('the socket of a VM that was killed is taken over', async () => {
  await take('killed');
  const path = nameSocket('killed', dir);
  open.splice(0).forEach(listener => listener.dispose());
  const child = spawn(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => ` +
      `process.kill(process.pid, 'SIGKILL'))`,
  ]);
  await new Promise(resolve => child.once('exit', resolve));
  expect(existsSync(path)).toBe(true);
  await run('lives');
  const { message, options } = await noSuchVm('killed', dir);
  expect(message).toBe("there is no VM 'killed' on this host any more: it was killed");
  expect(options.hint).toMatch(/^There is: lives\. Other addresses/);
  await run('killed');
  expect(await liveNames(dir)).toEqual(['killed', 'lives']);
});

test('a name that cannot be an address: the VM runs all the same', async () => {
  expect(await takeName('a/b', world, dir)).toBeUndefined();
  expect(notes).toEqual([
    '-name a/b: not reachable by its name: a name for use as an address is letters, digits ' +
      'and - . _',
  ]);
  expect(await takeName('x'.repeat(70), world, dir)).toBeUndefined();
  expect(notes.at(-1)).toMatch(
    /: a name for use as an address has at most 64 characters, this has 70$/,
  );
});

test('many clients at once, and those that came before the VM was built', async () => {
  const listener = await take('busy');
  const connect = () =>
    QmpClient.connect(sockets, { kind: 'unix', path: nameSocket('busy', dir) }, 5000);
  const early = connect();
  await new Promise(resolve => setTimeout(resolve, 50));
  const vm = rememberingVm();
  listener.serve(vm, monitorRegistry);
  const clients = [await early, await connect(), await connect()];
  for (const client of clients)
    expect(await client.execute('query-name', undefined, 5000)).toEqual({ name: 'test' });
  const stopped = Promise.all(
    clients.map(
      client => new Promise<string>(resolve => client.onEvent(({ event }) => resolve(event))),
    ),
  );
  await clients[0].execute('stop', undefined, 5000);
  expect(await stopped).toEqual(['STOP', 'STOP', 'STOP']);
  clients[0].dispose();
  expect(await clients[1].execute('query-status', undefined, 5000)).toMatchObject({
    running: false,
  });
  clients.forEach(client => client.dispose());
});

test('list, status, hmp, qmp by name', async () => {
  await run('here');
  expect(await colo('list')).toEqual({
    out: 'here\tprimary\trunning\tyes\t10.0.0.2:8888\t1m\n',
    err: '',
    code: 0,
  });
  expect(JSON.parse((await colo('list', '--json')).out)).toEqual([
    {
      name: 'here',
      role: 'primary',
      state: 'running',
      protected: true,
      superseded: false,
      pair: 'protected',
      error: null,
      sinceMs: 42000,
      lastCheckpointMs: 90,
      peer: '10.0.0.2:8888',
      ageMs: 61000,
      pid: 4711,
    },
  ]);
  const status = await colo('status', 'here');
  expect(status.out).toContain('health      protected: the loss of this host would be survived\n');
  expect(status.out).toContain('since       42s, last checkpoint 0.1 s ago\n');
  expect(await colo('status', 'here', '--wait', 'protected')).toMatchObject({ code: 0, err: '' });
  expect(await colo('status', 'here', '--wait', 'lost', '--timeout', '1')).toEqual({
    out: '',
    err: 'Error: the pair is protected, not lost, after 1 s\n',
    code: 1,
  });
  expect((await colo('status', 'here', '--wait', 'dead')).code).toBe(2);
  expect(status.out).toContain('disk        disk0: raw /images/a.img\n');
  expect(await colo('hmp', 'here', 'info name')).toEqual({ out: 'test\n', err: '', code: 0 });
  expect(await colo('qmp', 'hree', 'query-status')).toEqual({
    out: '',
    err:
      "Error: there is no VM 'hree' on this host\nThere is: here. Did you mean 'here'? Other " +
      'addresses are unix:PATH and tcp:HOST:PORT of a -qmp option.\n',
    code: 1,
  });
});

test('what an operator reads', () => {
  expect([0, 59_999, 60_000, 7_200_000, 180_000_000, null].map(ageCell)).toEqual([
    '0s',
    '59s',
    '1m',
    '2h',
    '2d',
    '-',
  ]);
  expect(columns(['A', 'LONG'], [['wide cell', 'x']], true)).toBe(
    'A          LONG\nwide cell  x\n',
  );
  const say = (pair: string, more = {}) => {
    const { text, todo } = adviceFor(
      { role: 'secondary', status: 'inmigrate', pair, ...more },
      'svm',
    );
    return [text, todo];
  };
  const why = { error: 'no sign of life', 'since-ms': 125_000 };
  expect(say('protected')).toEqual(['ready to take over', undefined]);
  expect(say('protected', { role: 'primary' })[0]).toContain(
    'the loss of this host would be survived',
  );
  expect(say('lost', why)).toEqual([
    'protection was lost 2m ago: no sign of life',
    expect.stringMatching(/: colo failover svm$/),
  ]);
  expect(say('waiting', why)).toEqual([
    'waits for a primary: it cannot take over yet (the last one: no sign of life)',
    undefined,
  ]);
  expect(say('alone', { status: 'running' })).toEqual([
    'not protected: it has no secondary',
    undefined,
  ]);
  expect(say('alone', { status: 'running', ...why })).toEqual([
    'not protected for 2m: no sign of life',
    undefined,
  ]);
  expect(say('alone', { status: 'postmigrate' })[0]).toContain('was migrated');
  expect(say('superseded', why)[0]).toContain('the other side goes on with the guest');
  expect(say('held', why)).toEqual([
    'the guest does not run: no sign of life',
    'to run it here all the same: colo failover svm',
  ]);
  expect(say('broken', why)).toEqual([
    expect.stringContaining('can never take over'),
    expect.stringContaining('quit'),
  ]);
  // Only where it would be accepted.
  for (const pair of ['waiting', 'joining', 'alone', 'superseded', 'broken', 'ended'])
    expect(String(say(pair, why))).not.toContain('failover');
  const doubt = (pair: string, error: string, peer: string) =>
    failoverDoubt(healthFrom({ pair, error, peer, role: 'secondary', status: 'inmigrate' }));
  // Asked where nobody can tell, not where it is safe.
  expect(doubt('protected', '', '10.0.0.2:8888')).toBeUndefined();
  for (const peer of ['/run/mig', '127.0.0.1:5', '::1:5'])
    expect(doubt('lost', 'the peer closed the connection', peer)).toBeUndefined();
  expect(doubt('lost', 'the peer closed the connection', '10.0.0.2:8888')).toContain(
    'The other side, 10.0.0.2:8888, may still run: the peer closed',
  );
  expect(doubt('lost', 'no sign of life', '/run/mig')).toContain('may still run');
  expect(doubt('held', 'it had a secondary', '')).toContain(
    'may run this guest: it had a secondary',
  );
  expect(say('alone', { status: 'internal-error' })[0]).toContain('reset or quit');
  expect(adviceFor({ role: 'primary' }, 'old')).toEqual({
    text: expect.stringContaining('no VM of this version'),
  });
});
