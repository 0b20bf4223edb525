/**
 * Goal: a VM process as an operator meets it: it comes up, answers, ignores the end of its standard
 * input, and ends in order. Method: the real process with the real addon (skipped by name where
 * that is not built); a secondary needs no kernel.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import { QmpClient } from '../../../src/monitor/qmp/client.js';
import { fakeKernel } from '../../support/fake-kernel.js';

const root = new URL('../../../', import.meta.url);
const dev = fileURLToPath(new URL('bin/dev.js', root));
const built = existsSync(new URL('native/build/Release/colo.node', root));
const withAddon = built ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-vm-'));
const started: ChildProcess[] = [];
// What a failed test leaves behind must not keep the run.
afterEach(() => started.splice(0).forEach(child => child.kill('SIGKILL')));
afterAll(() => rmSync(dir, { recursive: true }));

class Process {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  out = '';
  err = '';

  constructor(args: string[]) {
    this.child = spawn(
      process.execPath,
      ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, ...args],
      { env: { ...process.env, NODE_OPTIONS: '' } },
    );
    started.push(this.child);
    this.child.stdout?.on('data', (bytes: Buffer) => (this.out += bytes.toString()));
    this.child.stderr?.on('data', (bytes: Buffer) => (this.err += bytes.toString()));
    this.exited = new Promise(resolve => this.child.once('close', resolve));
  }

  /** It has come up so far. */
  async until(there: () => boolean): Promise<void> {
    const deadline = performance.now() + 20_000;
    while (!there()) {
      if (performance.now() > deadline || this.child.exitCode !== null)
        throw new Error(`it does not come up: ${this.err}`);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  async qmp(path: string): Promise<QmpClient> {
    await this.until(() => existsSync(path));
    return QmpClient.connect(
      { sockets: new NodeSockets(), clock: new NodeClock() },
      { kind: 'unix', path },
      10_000,
    );
  }
}

function secondary(name: string, extra: string[] = []) {
  const path = join(dir, `${name}.qmp`);
  return {
    path,
    run: new Process([
      'secondary',
      '-name',
      name,
      '-m',
      '16',
      '-accel',
      'soft',
      '-incoming',
      `unix:${join(dir, `${name}.mig`)}`,
      '-qmp',
      `unix:${path},server=on,wait=off`,
      ...extra,
    ]),
  };
}

withAddon(
  'a secondary waits, answers, and quits (skipped where the addon is not built)',
  async () => {
    const { run, path } = secondary('quit');
    const client = await run.qmp(path);
    expect(await client.execute('query-status', undefined, 5000)).toEqual({
      running: false,
      status: 'inmigrate',
    });
    expect(await client.execute('query-name', undefined, 5000)).toEqual({ name: 'quit' });
    await expect(client.execute('cont', undefined, 5000)).rejects.toThrow(
      'the machine waits for a migration',
    );
    await expect(client.execute('x-colo-lost-heartbeat', undefined, 5000)).rejects.toThrow(
      "The feature 'colo' is not enabled",
    );
    await expect(client.execute('migrate', { uri: 'tcp:h:1' }, 5000)).rejects.toThrow(
      'this machine waits for an incoming migration',
    );
    const shutdown = new Promise(resolve => client.onEvent(event => resolve(event.data)));
    expect(await client.execute('quit', undefined, 5000)).toEqual({});
    expect(await shutdown).toEqual({ guest: false, reason: 'host-qmp-quit' });
    expect(await run.exited).toBe(0);
    expect([run.out, run.err]).toEqual(['', '']);
  },
);

withAddon(
  'an empty machine answers; there is nothing to run in it (skipped where the addon is not built)',
  async () => {
    const path = join(dir, 'empty.qmp');
    const run = new Process([
      'primary',
      '-S',
      '-m',
      '16',
      '-accel',
      'soft',
      '-qmp',
      `unix:${path},server=on,wait=off`,
    ]);
    const client = await run.qmp(path);
    expect(await client.execute('query-status', undefined, 5000)).toEqual({
      running: false,
      status: 'prelaunch',
    });
    await expect(client.execute('cont', undefined, 5000)).rejects.toThrow(
      'there is nothing to run: this VM was started without -kernel. Start it with -kernel',
    );
    expect(await client.execute('query-status', undefined, 5000)).toEqual({
      running: false,
      status: 'prelaunch',
    });
    await client.execute('quit', undefined, 5000);
    expect(await run.exited).toBe(0);
  },
);

withAddon(
  'the end of standard input ends nothing; a signal ends in order (skipped where the addon is ' +
    'not built)',
  async () => {
    const { run, path } = secondary('signal', ['-monitor', 'stdio']);
    run.child.stdin?.end('info status\n');
    const client = await run.qmp(path);
    while (!run.out.includes('inmigrate')) await new Promise(resolve => setTimeout(resolve, 10));
    expect(run.out).toBe(
      "colo 0.1.0 monitor - type 'help' for more information\n(qemu) VM status: paused " +
        '(inmigrate)\n(qemu) ',
    );
    expect(await client.execute('query-status', undefined, 5000)).toMatchObject({
      status: 'inmigrate',
    });
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
  },
);

withAddon(
  'what cannot be opened is named, and the exit code is 1 (skipped where the addon is not built)',
  async () => {
    const missing = join(dir, 'missing.img');
    const { run } = secondary('missing', [
      '-drive',
      `if=none,id=d0,driver=raw,file.filename=${missing}`,
    ]);
    expect(await run.exited).toBe(1);
    expect(run.err).toContain('Error: -drive id=d0: ');
    expect(run.err).toContain(missing);
  },
);

withAddon(
  '-daemonize comes back when the VM is there; -pidfile and -D hold what scripts want ' +
    '(skipped where the addon is not built)',
  async () => {
    const pidfile = join(dir, 'daemon.pid');
    const log = join(dir, 'daemon.log');
    const extra = ['-daemonize', '-pidfile', pidfile, '-D', log, '-trace', 'colo_*'];
    const { run, path } = secondary('daemon', extra);
    expect(await run.exited).toBe(0);
    const pid = Number(readFileSync(pidfile, 'utf8'));
    expect(pid).not.toBe(run.child.pid);
    const client = await QmpClient.connect(
      { sockets: new NodeSockets(), clock: new NodeClock() },
      { kind: 'unix', path },
      10_000,
    );
    expect(await client.execute('query-vm', undefined, 5000)).toMatchObject({
      name: 'daemon',
      pid,
      role: 'secondary',
    });
    await client.execute('quit', undefined, 5000);
    for (let i = 0; i < 500 && existsSync(pidfile); i++)
      await new Promise(resolve => setTimeout(resolve, 10));
    expect(existsSync(pidfile)).toBe(false);
    expect(readFileSync(log, 'utf8')).toContain(
      'colo secondary: colo_vm_state_change old=inmigrate new=shutdown\n',
    );
    const failing = secondary('daemon2', [
      '-daemonize',
      '-drive',
      `if=none,id=d0,driver=raw,file.filename=${join(dir, 'none.img')}`,
    ]);
    expect(await failing.run.exited).toBe(1);
    expect(failing.run.err).toContain('Error: -drive id=d0: ');
  },
);

withAddon(
  'a VM that stands still with nobody to talk to goes on until a signal (skipped where the ' +
    'addon is not built)',
  async () => {
    const kernel = join(dir, 'vmlinuz');
    writeFileSync(kernel, fakeKernel());
    const pidfile = join(dir, 'still.pid');
    const run = new Process([
      'primary',
      '-S',
      '-m',
      '32',
      '-accel',
      'soft',
      '-kernel',
      kernel,
      '-monitor',
      'none',
      '-trace',
      'vm*',
      '-pidfile',
      pidfile,
    ]);
    await run.until(() => existsSync(pidfile) && readFileSync(pidfile, 'utf8') !== '');
    const early = await Promise.race([
      run.exited,
      new Promise(resolve => setTimeout(resolve, 1000, 'goes on')),
    ]);
    expect([early, run.err]).toEqual(['goes on', '']);
    run.child.kill('SIGTERM');
    expect(await run.exited).toBe(0);
  },
);

withAddon(
  'objects, chardevs and netdevs: from the options, in QMP and in HMP, and none that is used ' +
    'goes (skipped where the addon is not built)',
  async () => {
    const dump = join(dir, 'hn0.pcap');
    const port = 20_000 + ((process.pid * 7) % 40_000);
    const { run, path } = secondary('plug', [
      '-netdev',
      `socket,id=hn0,listen=127.0.0.1:${port}`,
      '-device',
      'virtio-net-pci,id=nic0,netdev=hn0',
      '-chardev',
      'ringbuf,id=log',
      '-serial',
      'chardev:log',
      '-object',
      `filter-dump,id=d0,netdev=hn0,file=${dump}`,
    ]);
    const client = await run.qmp(path);
    const hmp = (line: string) =>
      client.execute('human-monitor-command', { 'command-line': line }, 5000);
    await client.execute(
      'chardev-add',
      {
        id: 'm0',
        backend: {
          type: 'socket',
          data: { addr: { type: 'unix', data: { path: join(dir, 'm0') } } },
        },
      },
      5000,
    );
    await client.execute(
      'object-add',
      { 'qom-type': 'filter-mirror', id: 'f0', netdev: 'hn0', outdev: 'm0', position: 'head' },
      5000,
    );
    const network = String(await hmp('info network'));
    expect(network).toContain(`hn0: type=socket,socket=tcp:127.0.0.1:${port},server=on,peer=no`);
    expect([...network.matchAll(/^ {2}- (\S+): type=(\S+?),/gm)].map(m => [m[1], m[2]])).toEqual([
      ['nop', 'filter-buffer'],
      ['f0', 'filter-mirror'],
      ['d0', 'filter-dump'],
    ]);
    await expect(client.execute('netdev_del', { id: 'hn0' }, 5000)).rejects.toThrow(
      "netdev 'hn0' is in use by virtio-net-pci 'nic0', filter-dump 'd0', filter-mirror 'f0'",
    );
    await expect(client.execute('chardev-remove', { id: 'm0' }, 5000)).rejects.toThrow(
      "Chardev 'm0' is busy: filter-mirror 'f0' uses it",
    );
    await expect(client.execute('chardev-remove', { id: 'log' }, 5000)).rejects.toThrow(
      "Chardev 'log' is busy: serial port 1 uses it",
    );
    await expect(client.execute('chardev-remove', { id: 'qmp0' }, 5000)).rejects.toThrow(
      "Chardev 'qmp0' is busy: the QMP monitor uses it",
    );
    await client.execute(
      'qom-set',
      { path: '/objects/f0', property: 'status', value: 'off' },
      5000,
    );
    expect(await client.execute('qom-get', { path: 'f0', property: 'status' }, 5000)).toBe('off');
    expect(await client.execute('qom-list', { path: '/objects' }, 5000)).toEqual([
      { name: 'type', type: 'string' },
      { name: 'd0', type: 'child<filter-dump>' },
      { name: 'f0', type: 'child<filter-mirror>' },
    ]);
    expect(await hmp('object_del f0')).toBe('');
    expect(await hmp('chardev-remove m0')).toBe('');
    expect(await hmp('netdev_add socket,id=hn1,listen=127.0.0.1:0')).toBe('');
    expect(await hmp('netdev_del hn1')).toBe('');
    expect(await hmp('object_add foo,id=x')).toContain(
      "Error: Parameter 'qom-type' does not accept value 'foo'",
    );
    await client.execute('quit', undefined, 5000);
    expect(await run.exited).toBe(0);
    expect([run.err, readFileSync(dump).length]).toEqual(['', 24]);
  },
);

withAddon(
  'an object that cannot be is named, and the exit code is 1 (skipped where the addon is not ' +
    'built)',
  async () => {
    const { run } = secondary('object', [
      '-netdev',
      'socket,id=hn0,listen=127.0.0.1:0',
      '-object',
      `filter-dump,id=d0,netdev=hn0,file=${dir}/none/x`,
    ]);
    expect(await run.exited).toBe(1);
    expect(run.err).toContain('Error: -object filter-dump,id=d0: ');
  },
);
