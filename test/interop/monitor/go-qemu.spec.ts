/**
 * Goal: a QMP library that others wrote, DigitalOcean's go-qemu, drives a real VM: status, cont and
 * stop with their events, errors, ids. Method: the program beside this file, built from Debian's
 * sources without a network (skipped by name where go, they or the addon are missing).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonBuilt, ColoProcess } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';

const gopath = '/usr/share/gocode';
const there =
  addonBuilt &&
  existsSync(join(gopath, 'src/github.com/digitalocean/go-qemu')) &&
  spawnSync('go', ['version']).status === 0;
const source = fileURLToPath(new URL('go-qemu.go', import.meta.url));
const dir = mkdtempSync(join(tmpdir(), 'colo-go-'));
afterAll(() => rmSync(dir, { recursive: true }));

/** The cache outlives the run: the second build takes a second. */
function build(): string {
  const client = join(dir, 'client');
  const env = {
    ...process.env,
    GOPATH: gopath,
    GO111MODULE: 'off',
    GOFLAGS: '',
    CGO_ENABLED: '0',
    GOCACHE: join(tmpdir(), `colo-go-cache-${process.getuid?.() ?? 0}`),
  };
  const { stderr, status } = spawnSync('go', ['build', '-o', client, source], {
    env,
    encoding: 'utf8',
    timeout: 120_000,
  });
  expect([stderr, status]).toEqual(['', 0]);
  return client;
}

(there ? test : test.skip)(
  'go-qemu drives a VM (skipped where go, go-qemu or the addon is missing)',
  async () => {
    const client = build();
    const [kernel, socket] = [join(dir, 'kernel'), join(dir, 'qmp')];
    writeFileSync(kernel, fakeKernel());
    const vm = new ColoProcess([
      'primary',
      '-name',
      'go',
      '-m',
      '32',
      '-accel',
      'soft',
      '-S',
      '-kernel',
      kernel,
      '-qmp',
      `unix:${socket},server=on,wait=off`,
    ]);
    try {
      await vm.until('the monitor', () => existsSync(socket));
      const { stdout, status } = spawnSync(client, [socket], { encoding: 'utf8', timeout: 30_000 });
      expect(stdout.trimEnd().split('\n')).toEqual([
        'greeting 7.2.0',
        'status prelaunch, running false',
        'event RESUME, stamped true',
        'status running, running true',
        'event STOP, stamped true',
        'status paused, running false',
        'more than 50 commands: true',
        'error The command no-such-command has not been found',
        'name go, id seven',
        'quit',
      ]);
      expect([status, await vm.exited]).toEqual([0, 0]);
    } finally {
      vm.child.kill('SIGKILL');
    }
  },
  180_000,
);
