/**
 * Goal: the demo's first steps on a machine that has never seen it: what must be downloaded is
 * asked for where there is a network, and what is in the way is one sentence. Method: the demo with
 * a cache of its own, and programs of Debian's that only note how they are called.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const flag = process.getuid?.() === 0 ? '' : 'Ur';
const can = (...words: string[]) => spawnSync('unshare', [...words, 'true']).status === 0;
const inNamespaces = can(`-${flag}n`) ? test : test.skip;
const withMounts = can(`-${flag}mn`) ? test : test.skip;

const dir = mkdtempSync(join(tmpdir(), 'colo-first-'));
afterAll(() => rmSync(dir, { recursive: true }));

function program(folder: string, name: string, script: string): void {
  mkdirSync(join(dir, folder), { recursive: true });
  writeFileSync(join(dir, folder, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(dir, folder, name), 0o755);
}
const called = join(dir, 'called');
program('debian', 'apt-cache', 'echo "  Depends: linux-image-9-cloud-amd64"');
program(
  'debian',
  'apt-get',
  `echo "$1 $(readlink /proc/self/ns/net)" >> ${called}; echo no route >&2; exit 100`,
);
program('closed', 'unshare', 'echo "unshare: unshare failed: Operation not permitted" >&2; exit 1');

/** before: a shell's words in mount and network namespaces of its own. */
function demo(
  changes: NodeJS.ProcessEnv,
  { first = '', folders = ['debian'], args = [] as string[] } = {},
) {
  const path = [...folders.map(name => join(dir, name)), process.env['PATH']].join(':');
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    PATH: path,
    HOME: join(dir, 'home'),
    XDG_CACHE_HOME: '',
    ...changes,
  };
  const run = [process.execPath, '--import', 'tsx', 'test/demo/main.ts', ...args];
  const words =
    first === '' ? run : ['unshare', `-${flag}m`, 'sh', '-c', `${first}\nexec "$@"`, '-', ...run];
  const { status, stdout, stderr } = spawnSync(words[0], words.slice(1), {
    cwd: root,
    encoding: 'utf8',
    env,
  });
  return { status, stdout, stderr };
}
const sentence = ({ stderr }: { stderr: string }) =>
  stderr
    .trim()
    .split('\n')
    .filter(line => line.startsWith('demo: '));
/** No download is tried. */
const ownKernel = { args: ['--kernel', join(root, 'package.json')] };

inNamespaces(
  'the kernel is downloaded where there is a network, before the demo enters its own',
  () => {
    const run = demo({});
    const here = readlinkSync('/proc/self/ns/net');
    const calls = readFileSync(called, 'utf8').trim().split('\n');
    expect(calls).toEqual([`download ${here}`, `download ${here}`].slice(0, calls.length));
    expect(run).toMatchObject({ status: 1 });
    expect(run.stderr).toMatch(/demo: apt-get .*no route/);
  },
);

test('without namespaces one sentence says what to do', () => {
  const { status, stderr } = demo({}, { folders: ['closed', 'debian'] });
  expect(stderr).toBe(
    'demo: a network namespace of its own is needed: run this as root, or allow `unshare ' +
      '-Urn` (unshare: unshare failed: Operation not permitted)\n',
  );
  expect(status).toBe(1);
});

withMounts('a tap device that is closed, or missing', () => {
  const closed = demo(
    {},
    { first: 'mount --bind /dev/net /dev/net && mount -o remount,bind,nodev /dev/net' },
  );
  expect(sentence(closed)).toEqual([
    'demo: taps are needed, and /dev/net/tun cannot be opened (EACCES): run this as root, or ' +
      'open it for all, as Debian does: `chmod 666 /dev/net/tun` as root',
  ]);
  const missing = demo({}, { first: 'mount -t tmpfs none /dev/net' });
  expect(sentence(missing)).toEqual([
    'demo: taps are needed, and /dev/net/tun cannot be opened (ENOENT): load the module tun: ' +
      '`modprobe tun` as root',
  ]);
});

withMounts('a TMPDIR that is full, or long', () => {
  const small = join(dir, 'small');
  mkdirSync(small);
  const full = demo(
    { TMPDIR: small },
    { ...ownKernel, first: `mount -t tmpfs -o size=1m none ${small}` },
  );
  expect(sentence(full)).toEqual([
    expect.stringMatching(/^demo: \S+small has \d MB free, and 64 MB are needed: set TMPDIR/),
  ]);
  const long = join(dir, 'l'.repeat(100));
  mkdirSync(long);
  expect(sentence(demo({ TMPDIR: long }, ownKernel))).toEqual([
    expect.stringMatching(/^demo: the path of \S+ is \d+ bytes too long for sockets below it/),
  ]);
});

inNamespaces('a home that keeps nothing', () => {
  const run = demo({ HOME: '/proc' });
  expect(sentence(run)).toEqual([
    'demo: nothing can be kept in /proc/.cache/colo (ENOENT): set XDG_CACHE_HOME to a folder ' +
      'that can be written',
  ]);
  expect(run.status).toBe(1);
});
