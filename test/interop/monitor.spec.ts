/**
 * Goal: `colo monitor`, `hmp` and `qmp` drive a stock QEMU as its own monitor would, and better:
 * completion from its help and what it has. Method: a real qemu-system-x86_64 that runs nothing
 * (skipped by name where it is not installed); keys into a pty, and scripts on a pipe.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { keys, Person, temporaryHome } from '../support/person.js';

const dev = fileURLToPath(new URL('../../bin/dev.js', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-qemu-'));
const socket = join(dir, 'qmp');
const address = `unix:${socket}`;
const installed = spawnSync('qemu-system-x86_64', ['--version']).status === 0;
const withQemu = installed ? test : test.skip;
const home = temporaryHome();
let qemu: ChildProcess | undefined;

beforeAll(async () => {
  if (!installed) return;
  const disk = [
    '-drive',
    'if=none,id=disk0,node-name=node0,driver=null-co,size=1M',
    '-device',
    'virtio-blk-pci,drive=disk0,id=vdisk0',
  ];
  qemu = spawn(
    'qemu-system-x86_64',
    [
      '-machine',
      'q35',
      '-accel',
      'tcg',
      '-m',
      '16',
      '-S',
      '-nodefaults',
      '-display',
      'none',
      ...disk,
      '-chardev',
      'null,id=null0',
      '-qmp',
      `${address},server=on,wait=off`,
    ],
    { stdio: 'ignore' },
  );
  while (!existsSync(socket)) await new Promise(resolve => setTimeout(resolve, 20));
});
afterAll(() => {
  qemu?.kill('SIGKILL');
  rmSync(dir, { recursive: true });
  home.remove();
});

function colo(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--disable-warning=ExperimentalWarning', dev, ...args],
    { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } },
  );
  return { out: stdout, err: stderr, code: status };
}

withQemu(
  'a prompt: completion, hints, events (skipped where qemu-system-x86_64 is not installed)',
  async () => {
    const person = new Person([dev, 'monitor', address], { env: home.env, columns: 120 });
    await person.sees('(colo) ', 'typed');
    await person.press('info sta', keys.tab, keys.tab);
    await person.sees(/stats +status/);
    await person.press('us', keys.enter);
    await person.sees('VM status: paused (prelaunch)');
    await person.press('migrate ');
    await person.sees('uri', 'behind');
    await person.press(keys.ctrlC, 'migrate_set_capability x-co', keys.tab, 'o', keys.tab);
    await person.sees(/on +off|off +on|\(colo\) migrate_set_capability x-colo o/);
    await person.press(keys.ctrlC, 'block_resize d', keys.tab);
    await person.sees('(colo) block_resize disk0 ', 'typed');
    await person.press(keys.ctrlC, 'device_del ', keys.tab);
    await person.sees('(colo) device_del vdisk0 ', 'typed');
    await person.press(keys.ctrlC, 'chardev-remove n', keys.tab);
    await person.sees('(colo) chardev-remove null0 ', 'typed');
    await person.press(keys.ctrlC, 'cont', keys.enter);
    await person.sees('[RESUME]');
    await person.press('stop', keys.enter);
    await person.sees('[STOP]');
    await person.press(keys.ctrlD);
    expect(await person.exited).toBe(0);
  },
);

withQemu(
  'scripts: the exit code and the line of the first failure; JSON (skipped where ' +
    'qemu-system-x86_64 is not installed)',
  () => {
    const script = join(dir, 'script');
    writeFileSync(script, 'info name\n# a comment\nblock_resize nope 1M\ninfo kvm\n');
    const { out, err, code } = colo('monitor', address, '--script', script, '--echo');
    expect([out.startsWith('(colo) info name\n'), out.includes('info kvm'), code]).toEqual([
      true,
      false,
      1,
    ]);
    expect(err).toBe(`Error: ${script}:3: this line failed: block_resize nope 1M\n`);
    expect(
      colo(
        'qmp',
        address,
        'migrate-set-parameters',
        '--arg',
        'max-bandwidth=1000',
        '--arg',
        'tls-creds=x',
      ),
    ).toEqual({ out: '{}\n', err: '', code: 0 });
    expect(JSON.parse(colo('qmp', address, 'query-migrate-parameters').out)).toMatchObject({
      'max-bandwidth': 1000,
      'tls-creds': 'x',
    });
  },
);
