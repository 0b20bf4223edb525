/**
 * Goal: the process of a VM does what scripts and service managers rely on: log files, signals, a
 * reader that leaves, a status that is watched. Method: the real process with an empty machine
 * (skipped by name where the addon is not built).
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { QmpClient } from '../../../src/monitor/qmp/client.js';
import { addonBuilt, ColoProcess } from '../../support/colo-process.js';
import { Person } from '../../support/person.js';

const withAddon = addonBuilt ? test : test.skip;
const program = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-process-'));
const env = { XDG_RUNTIME_DIR: dir };
const started: ColoProcess[] = [];
const others: ChildProcess[] = [];
const monitors: QmpClient[] = [];
const people: Person[] = [];
afterEach(() => {
  monitors.splice(0).forEach(monitor => monitor.dispose());
  started.splice(0).forEach(({ child }) => child.kill('SIGKILL'));
  people.splice(0).forEach(person => person.kill());
  others.splice(0).forEach(child => child.kill('SIGKILL'));
});
afterAll(() => rmSync(dir, { recursive: true }));

async function start(
  name: string,
  ...options: string[]
): Promise<{ vm: ColoProcess; monitor: QmpClient }> {
  const vm = new ColoProcess(
    ['primary', '-name', name, '-S', '-m', '16', '-accel', 'soft', ...options],
    { env },
  );
  started.push(vm);
  const monitor = await vm.qmp(join(dir, 'colo', name, 'qmp'));
  monitors.push(monitor);
  await monitor.execute('query-status', undefined, 20_000);
  return { vm, monitor };
}

const text = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : '');
const line = 'migrate_set_state';
/** A failed migration: it makes trace events. */
const event = (monitor: QmpClient) => monitor.hmp('migrate unix:/none', 20_000);

withAddon(
  '-D and -msg: SIGHUP begins a new file; logfile moves the lines; an unknown trace event is ' +
    'told of (skipped where the addon is not built)',
  async () => {
    const [log, old, other] = ['log', 'log.1', 'other'].map(name => join(dir, name));
    const { vm, monitor } = await start(
      'log',
      '-D',
      log,
      '-msg',
      'timestamp=on',
      '-trace',
      'migrate_*',
      '-trace',
      'migrate_set_stat',
    );
    expect(text(log)).toContain(
      "colo primary: -trace migrate_set_stat: there is no trace event 'migrate_set_stat'. Did " +
        "you mean 'migrate_set_state'?\n",
    );
    await event(monitor);
    expect(text(log)).toContain(line);
    for (const one of text(log).trimEnd().split('\n'))
      expect(one).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z \S/);
    renameSync(log, old);
    vm.child.kill('SIGHUP');
    await vm.until('a new log', () => existsSync(log));
    const before = text(old);
    await event(monitor);
    expect([text(log).includes(line), text(old)]).toEqual([true, before]);
    expect(await monitor.hmp(`logfile ${join(dir, 'none', 'x')}`, 5000)).toContain(
      'No such file or directory',
    );
    expect(await monitor.hmp(`logfile ${other}`, 5000)).toBe('');
    const [full, count] = [text(log), text(other).length];
    await event(monitor);
    expect([text(log), text(other).length > count]).toEqual([full, true]);
    expect(vm.err).not.toContain(line);
    vm.child.kill('SIGTERM');
    expect(await vm.exited).toBe(0);
  },
  60_000,
);

test('the first signal ends in order, a second one at once', async () => {
  const run = new URL('../../../dist/commands/vm/run.js', import.meta.url).href;
  // An end that takes for ever: that of a real VM may be over before the second signal.
  const script =
    `const { onSignals } = await import('${run}'); onSignals(() => console.log('ending'), ` +
    `undefined); setInterval(() => undefined, 1000); console.log('ready');`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  others.push(child);
  const exited = new Promise<number | null>(resolve => child.once('exit', code => resolve(code)));
  const says = (what: string) =>
    new Promise<void>(resolve =>
      child.stdout.on('data', (bytes: Buffer) => bytes.toString().includes(what) && resolve()),
    );
  await says('ready');
  child.kill('SIGTERM');
  await says('ending');
  child.kill('SIGINT');
  expect(await exited).toBe(128 + 2);
}, 60_000);

withAddon(
  '-pidfile of a live VM is refused and left alone; one of a dead VM is taken over (skipped ' +
    'where the addon is not built)',
  async () => {
    const pidfile = join(dir, 'vm.pid');
    const { vm } = await start('pid', '-pidfile', pidfile);
    expect(text(pidfile)).toBe(`${vm.child.pid}\n`);
    const second = new ColoProcess(
      ['primary', '-S', '-m', '16', '-accel', 'soft', '-pidfile', pidfile],
      { env },
    );
    expect(await second.exited).toBe(1);
    expect(second.err).toBe(
      `Error: -pidfile ${pidfile}: process ${vm.child.pid} has it\nGive each VM a file of its ` +
        `own.\n`,
    );
    expect(text(pidfile)).toBe(`${vm.child.pid}\n`);
    vm.child.kill('SIGKILL');
    await vm.exited;
    const { vm: next, monitor } = await start('next', '-pidfile', pidfile);
    expect(text(pidfile)).toBe(`${next.child.pid}\n`);
    await monitor.execute('quit', undefined, 5000);
    expect(await next.exited).toBe(0);
    expect(existsSync(pidfile)).toBe(false);
  },
  60_000,
);

withAddon(
  'a place for names that cannot be: the VM runs, and says so; a closed home bothers no ' +
    'command (skipped where the addon is not built)',
  async () => {
    const vm = new ColoProcess(
      ['primary', '-name', 'nowhere', '-S', '-m', '16', '-accel', 'auto', '-monitor', 'stdio'],
      { env: { XDG_RUNTIME_DIR: '/proc/none' }, input: 'quit\n' },
    );
    started.push(vm);
    expect(await vm.exited).toBe(0);
    expect(vm.err).toMatch(
      /^colo primary: -name nowhere: not reachable by its name: .*\n(colo primary: CPU: soft; why not KVM: colo doctor\n)?$/,
    );
    const list = new ColoProcess(['list'], {
      env: { HOME: '/dev/null', XDG_DATA_HOME: '/dev/null', XDG_RUNTIME_DIR: dir },
    });
    expect([await list.exited, list.err]).toEqual([0, 'no VM with a -name runs here\n']);
  },
  60_000,
);

withAddon(
  'without a console or a monitor a terminal is told where they are (skipped where the addon ' +
    'is not built)',
  async () => {
    const hint = 'colo primary: no console (-serial stdio, -nographic); monitor: ';
    const shown = async (...options: string[]) => {
      const person = new Person(
        [program, 'primary', '-S', '-m', '16', '-accel', 'soft', ...options],
        { env, columns: 160 },
      );
      people.push(person);
      return person;
    };
    await (await shown()).sees(`${hint}-monitor stdio, or -name NAME with: colo monitor NAME`);
    await (await shown('-name', 'told')).sees(`${hint}colo monitor told`);
    const quiet = await shown('-monitor', 'stdio');
    await quiet.sees('(colo)');
    expect(quiet.text).not.toContain(hint);
  },
  60_000,
);

withAddon(
  'status --watch: again and again, and the end of the VM is a failure (skipped where the ' +
    'addon is not built)',
  async () => {
    const { monitor } = await start('watched');
    const watch = new ColoProcess(['status', 'watched', '--watch', '1', '--json'], { env });
    started.push(watch);
    await watch.until('two looks', () => watch.out.split('\n').length > 2);
    const [first] = watch.out
      .split('\n')
      .map(one => (one === '' ? undefined : (JSON.parse(one) as unknown)));
    expect(first).toMatchObject({
      name: 'watched',
      state: 'prelaunch',
      verdict: 'not protected: it has no secondary',
    });
    await monitor.execute('quit', undefined, 5000);
    expect(await watch.exited).toBe(1);
    expect(JSON.parse(watch.out.slice(watch.out.indexOf('{\n')))).toMatchObject({
      error: { exit: 1 },
    });
  },
  60_000,
);

test('a reader that has enough is no failure', async () => {
  const child = spawn(
    'bash',
    [
      '-c',
      `"$0" "$1" primary --help | head -c 1; echo " \${PIPESTATUS[0]}"`,
      process.execPath,
      program,
    ],
    { env: { ...process.env, NODE_OPTIONS: '' } },
  );
  let [out, err] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => (err += bytes.toString()));
  await new Promise(resolve => child.once('close', resolve));
  expect([out.slice(-2), err]).toEqual(['0\n', '']);
});

const isolates = spawnSync('unshare', ['-rn', 'true']).status === 0 ? test : test.skip;
isolates(
  'no network at all: what needs none starts (skipped where namespaces are not allowed)',
  () => {
    const bare = (...args: string[]) => {
      const { status, stdout, stderr } = spawnSync(
        'unshare',
        ['-rn', process.execPath, program, ...args],
        { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', XDG_RUNTIME_DIR: dir } },
      );
      return { status, stdout, stderr };
    };
    expect(bare('--version')).toMatchObject({ status: 0, stderr: '' });
    expect(bare('list', '--json')).toEqual({ status: 0, stdout: '[]\n', stderr: '' });
    expect(bare('primary', '--help')).toMatchObject({ status: 0, stderr: '' });
  },
  30_000,
);
