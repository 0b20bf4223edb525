/**
 * Goal: the death of the process in the middle of a job costs no image and no write that the guest
 * flushed. Method: kill -9 of a process that writes to a chain of images under a job, at several
 * moments; qemu-img checks every image and reads the disk.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expectSame } from '../../support/block-host.js';
import { FLUSH_EVERY, GUEST_BYTES, guestDisk, guestWrite } from '../../support/job-load.js';

const script = fileURLToPath(new URL('../../support/job-process.ts', import.meta.url));
const withQemu =
  spawnSync('sh', ['-c', 'command -v qemu-img qemu-io']).status === 0 ? test : test.skip;
let dir: string;
const at = (name: string) => join(dir, name);
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'colo-jobs-kill-'));
});
afterEach(() => rmSync(dir, { recursive: true }));
const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { cwd: dir }).toString();

function chain(): Buffer {
  run('qemu-img', 'create', '-q', '-f', 'qcow2', 'base', String(GUEST_BYTES));
  run('qemu-io', '-c', 'write -P 1 0 6M', 'base');
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'base', '-F', 'qcow2', 'mid');
  run('qemu-io', '-c', 'write -P 2 1M 4M', '-c', 'write -z 6M 1M', 'mid');
  run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'mid', '-F', 'qcow2', 'top');
  run('qemu-io', '-c', 'write -P 3 4M 3M', 'top');
  return disk();
}

/** As qemu-img reads it. */
function disk(): Buffer {
  run('qemu-img', 'convert', '-O', 'raw', 'top', 'flat');
  return readFileSync(at('flat'));
}

/** Killed so long after the job began to move. Returns how many writes were flushed. */
async function killed(what: string, afterMs: number): Promise<number> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', '--disable-warning=ExperimentalWarning', script, what, dir],
    { env: { ...process.env, NODE_OPTIONS: '' }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const gone = once(child, 'close');
  let writes = 0;
  let moves = false;
  createInterface({ input: child.stdout }).on('line', line => {
    if (line !== 'moves') writes = Number(line);
    else setTimeout(() => child.kill('SIGKILL'), afterMs);
    moves ||= line === 'moves';
  });
  await gone;
  expect([moves, child.signalCode]).toEqual([true, 'SIGKILL']);
  return writes;
}

/** Clusters may be lost (they cost room, and a repair finds them); nothing may be wrong. */
function expectSound(name: string): void {
  const { status, stdout } = spawnSync('qemu-img', ['check', '--output=json', at(name)]);
  const report = JSON.parse(stdout.toString()) as { corruptions?: number; 'check-errors': number };
  expect([
    name,
    report.corruptions ?? 0,
    report['check-errors'],
    status === 0 || status === 3,
  ]).toEqual([name, 0, 0, true]);
}

withQemu.each([
  ['mirror', 60],
  ['commit', 80],
  ['middle', 60],
  ['middle', 220],
  ['stream', 100],
] as const)(
  '%s, killed after %i ms',
  async (what, afterMs) => {
    const before = chain();
    const writes = await killed(what, afterMs);
    for (const name of ['base', 'mid', 'top', ...(what === 'mirror' ? ['target'] : [])])
      expectSound(name);
    const found = disk();
    // Of those after the last flush nothing is known.
    const known = guestDisk(before, writes);
    for (let n = writes; n < writes + FLUSH_EVERY; n++) {
      const { offset, data } = guestWrite(n);
      found.copy(known, offset, offset, offset + data.length);
    }
    expectSame(found, known);
    expect(writes).toBeGreaterThan(0);
  },
  40_000,
);
