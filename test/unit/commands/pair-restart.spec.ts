/**
 * Goal: after a failover nothing that the survivor wrote is lost and no second guest runs,
 * whichever side is started again, and how. Method: the real processes from one definition with a
 * guest of two instructions; what the guest would have written after the failover is written into
 * the survivor's image by hand (skipped by name where the addon is not built).
 */
import {
  closeSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addonBuilt, colo, ColoProcess, expectDone } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const MiB = 1 << 20;
const limitMs = 120_000;
const mark = 0x80_0000;
const started: ColoProcess[] = [];
let dir: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'colo-again-'));
  env = { XDG_RUNTIME_DIR: dir };
  const code = Buffer.from(new Assembler(0).incDword(mark).hlt().code());
  writeFileSync(join(dir, 'vmlinuz'), fakeKernel({ code }));
  const at = (name: string) => `"unix:${join(dir, name)}"`;
  const peer = `{migration: ${at('mig')}, nbd: ${at('nbd')}, wait: 60}`;
  const head = `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\ncheckpoint-delay: 50`;
  const disks = 'disks:\n  - {primary: p.img, secondary: s.img, size: 4M}';
  writeFileSync(join(dir, 'toy.yaml'), `${head}\npeer: ${peer}\n${disks}\n`);
});
afterEach(() => {
  started.splice(0).forEach(({ child }) => child.kill('SIGKILL'));
  rmSync(dir, { recursive: true });
});

function start(role: 'primary' | 'secondary', ...options: string[]): ColoProcess {
  const side = new ColoProcess([role, '--config', join(dir, 'toy.yaml'), ...options], { env });
  started.push(side);
  return side;
}

async function end(side: ColoProcess): Promise<void> {
  side.child.kill('SIGTERM');
  await side.exited;
}

async function protectedPair(
  ...options: string[]
): Promise<{ primary: ColoProcess; secondary: ColoProcess }> {
  const secondary = start('secondary');
  await secondary.says('waits for the primary');
  const primary = start('primary', ...options);
  await primary.says('protected by');
  return { primary, secondary };
}

/** The primary's host dies, and the secondary goes on. */
async function failedOver(): Promise<ColoProcess> {
  const { primary, secondary } = await protectedPair();
  primary.child.kill('SIGKILL');
  await primary.exited;
  await untilLost('toy-secondary', secondary);
  await failover('toy-secondary');
  return secondary;
}

async function failover(name: string): Promise<void> {
  expectDone(await colo(['failover', name, '--yes'], { env }));
}

async function monitorOf(name: string, side: ColoProcess) {
  return side.qmp(join(dir, 'colo', name, 'qmp'));
}

async function untilLost(name: string, side: ColoProcess): Promise<void> {
  const monitor = await monitorOf(name, side);
  const lost = async () =>
    (await monitor.execute('query-colo-status', undefined, 5000)) as { reason: string };
  await side.until('the loss', async () => (await lost()).reason === 'error');
  monitor.dispose();
}

async function statusOf(name: string, side: ColoProcess): Promise<string> {
  const monitor = await monitorOf(name, side);
  const { status } = (await monitor.execute('query-status', undefined, 5000)) as { status: string };
  monitor.dispose();
  return status;
}

const write = (image: string, text: string) => {
  const fd = openSync(join(dir, image), 'r+');
  writeSync(fd, text, 3 * MiB);
  closeSync(fd);
};
const read = (image: string) => {
  const bytes = Buffer.alloc(5);
  const fd = openSync(join(dir, image), 'r');
  readSync(fd, bytes, 0, 5, 3 * MiB);
  closeSync(fd);
  return bytes.toString();
};

withAddon(
  'survivor and old primary started again as they were: nothing is overwritten, and the user ' +
    'says which to keep (skipped where the addon is not built)',
  async () => {
    await end(await failedOver());
    write('s.img', 'newer');
    await protectedRefused();
    expect([read('s.img'), read('p.img')]).toEqual(['newer', '\0\0\0\0\0']);

    await protectedPair('--sync-from', 'secondary');
    expect([read('s.img'), read('p.img')]).toEqual(['newer', 'newer']);
  },
  limitMs,
);

async function protectedRefused(): Promise<void> {
  const secondary = start('secondary');
  await secondary.says('waits for the primary');
  const primary = start('primary');
  const why =
    "the secondary refused: disk 'disk0': the secondary's image is of generation 2, this " +
    "primary's of 1: the secondary has gone on alone, and what is here is older";
  await primary.says(why);
  expect(primary.err).toContain('--sync-from secondary');
  expect(await statusOf('toy-primary', primary)).toBe('prelaunch');
  await end(primary);
  await end(secondary);
}

withAddon(
  'the user may keep the old primary all the same (skipped where the addon is not built)',
  async () => {
    await end(await failedOver());
    write('s.img', 'newer');
    write('p.img', 'older');
    await protectedPair('--sync-from', 'primary');
    expect([read('s.img'), read('p.img')]).toEqual(['older', 'older']);
  },
  limitMs,
);

withAddon(
  'an old primary that is started again while the survivor runs does not run (skipped where ' +
    'the addon is not built)',
  async () => {
    const secondary = await failedOver();
    const primary = start('primary');
    await primary.says(
      'the secondary has taken over and runs this guest, generation 2: it does not run here',
    );
    expect(await statusOf('toy-primary', primary)).toBe('prelaunch');
    const monitor = await monitorOf('toy-primary', primary);
    await expect(monitor.execute('cont', undefined, 5000)).rejects.toThrow(
      'the guest does not run: the secondary has taken this guest over',
    );
    monitor.dispose();
    expect(await statusOf('toy-secondary', secondary)).toBe('running');
    await end(primary);
    // It knows by itself, also without its peer, and by hand.
    await end(secondary);
    const byHand = await colo(
      [
        'primary',
        '-kernel',
        join(dir, 'vmlinuz'),
        '-drive',
        `file=${join(dir, 'p.img')},format=raw,if=virtio`,
      ],
      { env },
    );
    expect([byHand.code, byHand.err]).toEqual([
      1,
      expect.stringContaining('the guest does not run: the secondary has taken this guest over'),
    ]);
  },
  limitMs,
);

withAddon(
  'a primary whose peer does not answer waits, says why, and runs by order alone (skipped ' +
    'where the addon is not built)',
  async () => {
    const { primary: first, secondary } = await protectedPair();
    first.child.kill('SIGKILL');
    secondary.child.kill('SIGKILL');
    await Promise.all([first.exited, secondary.exited]);
    const primary = start('primary');
    await primary.says(
      'the guest does not run: this guest (generation 1) had a secondary, which may have ' +
        'taken it over; waiting for its answer, as long as it takes',
    );
    expect(await statusOf('toy-primary', primary)).toBe('prelaunch');
    await failover('toy-primary');
    expect(await statusOf('toy-primary', primary)).toBe('running');
    const { out } = await colo(['image', 'info', '-U', '--json', join(dir, 'p.img')], { env });
    expect(JSON.parse(out).pair).toMatchObject({ generation: 2, role: 'primary', state: 'alone' });
    // The secondary's half of an epoch is overwritten by what is newer.
    const again = start('secondary');
    await again.says('waits for the primary');
    await primary.says('protected by');
  },
  limitMs,
);

withAddon(
  'both hosts lost their power: the pair comes up by itself, and the guest runs (skipped ' +
    'where the addon is not built)',
  async () => {
    const { primary: first, secondary } = await protectedPair();
    first.child.kill('SIGKILL');
    secondary.child.kill('SIGKILL');
    await Promise.all([first.exited, secondary.exited]);
    const { primary } = await protectedPair();
    expect(await statusOf('toy-primary', primary)).toMatch(/running|colo/);
    expect(primary.err).not.toContain('does not run');
  },
  limitMs,
);

withAddon(
  'after the loss of a secondary `colo protect` works at the first word (skipped where the ' +
    'addon is not built)',
  async () => {
    const { primary, secondary } = await protectedPair();
    secondary.child.kill('SIGKILL');
    await secondary.exited;
    await untilLost('toy-primary', primary);
    await failover('toy-primary');
    const again = start('secondary');
    await again.says('waits for the primary');
    const { code, err } = await colo(
      ['protect', 'toy-primary', '--config', join(dir, 'toy.yaml'), '--wait', '20'],
      { env },
    );
    expect([code, err.split('\n')[0]]).toEqual([0, 'replicas attached: disk0']);
  },
  limitMs,
);
