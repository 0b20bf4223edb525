/**
 * Goal: our client works with our server and with a stock QEMU, and every wait of it ends. Method:
 * real unix sockets; QEMU without a machine (`-machine none`), skipped by name where it is not
 * installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmError } from '../../../src/base/errors.js';
import type { CharPorts } from '../../../src/chardev/contract.js';
import { createChardev } from '../../../src/chardev/create.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Address, Stream } from '../../../src/host/ports.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpMonitor } from '../../../src/monitor/hmp/monitor.js';
import { QmpClient, type QmpEvent } from '../../../src/monitor/qmp/client.js';
import { QmpServer } from '../../../src/monitor/qmp/server.js';
import { rememberingVm } from '../../support/remembering-vm.js';

const world = { sockets: new NodeSockets(), clock: new NodeClock() };
const dir = mkdtempSync(join(tmpdir(), 'colo-qmp-'));
const address: Address = { kind: 'unix', path: join(dir, 's') };
const open: { dispose(): void }[] = [];

afterEach(() => open.splice(0).forEach(item => item.dispose()));
afterAll(() => rmSync(dir, { recursive: true }));

async function connect(timeoutMs = 5000): Promise<QmpClient> {
  const client = await QmpClient.connect(world, address, timeoutMs);
  open.push(client);
  return client;
}

async function serve(mode: 'qmp' | 'hmp' = 'qmp') {
  const vm = rememberingVm();
  const chr = await createChardev(
    'c0',
    { kind: 'socket', address, server: true, wait: false, reconnectMs: 0 },
    { ...world, log: () => undefined } as unknown as CharPorts,
  );
  const monitorWorld = { wallMs: () => world.clock.wallMs(), log: () => undefined };
  const monitor =
    mode === 'qmp'
      ? new QmpServer(vm, monitorRegistry, chr, monitorWorld)
      : new HmpMonitor(vm, monitorRegistry, chr, monitorWorld);
  open.push(chr, monitor);
  return { vm, chr };
}

async function script(reply: (stream: Stream) => void): Promise<void> {
  open.push(await world.sockets.listen(address, stream => (open.push(stream), reply(stream))));
}

test('commands, errors, events, HMP against our server', async () => {
  const { vm } = await serve();
  const client = await connect();
  const events: QmpEvent[] = [];
  client.onEvent(event => events.push(event));
  expect(await client.execute('query-status', undefined, 1000)).toEqual({
    running: true,
    status: 'running',
  });
  await expect(client.execute('nope', undefined, 1000)).rejects.toMatchObject({
    message: 'The command nope has not been found',
    options: { class: 'CommandNotFound' },
  });
  const together = await Promise.all([
    client.execute('query-name', {}, 1000),
    client.hmp('info status', 1000),
    client.execute('stop', {}, 1000),
  ]);
  expect(together).toEqual([{ name: 'test' }, 'VM status: running\n', {}]);
  expect(events.map(e => e.event)).toEqual(['STOP']);
  expect(vm.machine.runState).toBe('paused');
});

test('a monitor that does not speak QMP is refused with the reason', async () => {
  await serve('hmp');
  await expect(connect()).rejects.toThrow(`unix:${address.path}: it does not speak QMP`);
});

test('no server at the address', async () => {
  await expect(connect()).rejects.toBeInstanceOf(VmError);
});

test('a silent server: the greeting is waited for, and then no longer', async () => {
  await script(stream => stream.onData(() => undefined));
  await expect(connect(50)).rejects.toThrow('no QMP greeting within 0.05 s');
});

test('no answer within the time; the connection stays', async () => {
  const { vm } = await serve();
  const client = await connect();
  Object.assign(vm.machine, { reset: () => new Promise(resolve => setTimeout(resolve, 200)) });
  await expect(client.execute('system_reset', undefined, 50)).rejects.toThrow(
    'no answer to system_reset within 0.05 s',
  );
  expect(await client.execute('query-name', undefined, 2000)).toEqual({ name: 'test' });
});

test('the connection ends in the middle', async () => {
  const { chr } = await serve();
  const client = await connect();
  const ended = new Promise<void>(resolve => client.onEnd(resolve));
  const answer = client.execute('query-name', undefined, 1000);
  chr.dispose();
  await expect(answer).rejects.toThrow('the connection ended');
  await ended;
  await expect(client.execute('query-name', undefined, 1000)).rejects.toThrow(
    'the connection ended',
  );
});

/** The name of a socket is there before anybody listens at it. */
async function connectOnce(path: string): Promise<QmpClient> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await QmpClient.connect(world, { kind: 'unix', path }, 10_000);
    } catch (error) {
      if (attempt === 500 || !/No such file|refused/.test(String(error))) throw error;
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }
}

const qemu = 'qemu-system-x86_64';
const installed = spawnSync(qemu, ['--version']).status === 0;
(installed ? test : test.skip)(`a stock ${qemu} (skipped where it is not installed)`, async () => {
  const path = join(dir, 'qemu');
  const child = spawn(
    qemu,
    [
      '-display',
      'none',
      '-machine',
      'none',
      '-S',
      '-nodefaults',
      '-qmp',
      `unix:${path},server=on,wait=off`,
    ],
    { stdio: 'ignore' },
  );
  const exited = new Promise(resolve => child.once('exit', resolve));
  try {
    const client = await connectOnce(path);
    open.push(client);
    expect(await client.execute('query-status', undefined, 10_000)).toMatchObject({
      status: 'prelaunch',
    });
    expect(await client.hmp('info status', 10_000)).toBe('VM status: paused (prelaunch)\n');
    const schema = (await client.execute('query-qmp-schema', undefined, 10_000)) as unknown[];
    expect(schema.length).toBeGreaterThan(300);
    await expect(client.execute('migrate', {}, 10_000)).rejects.toThrow(
      "Parameter 'uri' is missing",
    );
    const resumed = new Promise<QmpEvent>(resolve => client.onEvent(resolve));
    await client.execute('cont', undefined, 10_000);
    expect((await resumed).event).toBe('RESUME');
    await client.execute('quit', undefined, 10_000);
    await exited;
  } finally {
    child.kill('SIGKILL');
  }
});
