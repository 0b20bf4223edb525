/**
 * Goal: a pair whose host was lost is a pair again while its guest runs, with the roles the other
 * way round, and then back, as often as hosts die: both images are equal then, and what was
 * copied is what was written meanwhile. Method: the real processes from one definition with a guest
 * that writes its disk without end (skipped by name where the addon is not built).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { QmpClient } from '../../../src/monitor/qmp/client.js';
import { addonBuilt, colo, ColoProcess, expectDone } from '../../support/colo-process.js';
import { DiskGuest, diskGuest, numberAt } from '../../support/disk-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const limitMs = 240_000;
const KiB = 1024;
/** Of the disk, and so much that a round does not write a sector twice. */
const sectors = 2 ** 17;
const started: ColoProcess[] = [];
let dir: string;
let env: NodeJS.ProcessEnv;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'colo-swap-'));
  env = { XDG_RUNTIME_DIR: dir };
  writeFileSync(join(dir, 'vmlinuz'), diskGuest({ sectors, pace: 3000 }));
  define('back: ' + addresses('back'));
});
afterEach(() => {
  started.splice(0).forEach(({ child }) => child.kill('SIGKILL'));
  rmSync(dir, { recursive: true });
});

const addresses = (name: string) =>
  `{migration: "unix:${join(dir, `${name}-mig`)}", nbd: "unix:${join(dir, `${name}-nbd`)}"}`;

function define(...lines: string[]): void {
  const head = ['name: toy', 'memory: 32M', 'accel: soft', 'kernel: vmlinuz'];
  const disks = 'disks: [{primary: p.img, secondary: s.img, size: 64M}]';
  const all = [...head, 'checkpoint-delay: 20', `peer: ${addresses('peer')}`, disks, ...lines];
  writeFileSync(join(dir, 'toy.yaml'), `${all.join('\n')}\n`);
}

const config = () => join(dir, 'toy.yaml');

function start(role: 'primary' | 'secondary', ...options: string[]): ColoProcess {
  const side = new ColoProcess([role, '--config', config(), ...options], { env });
  started.push(side);
  return side;
}

async function failover(name: string, survivor: ColoProcess): Promise<void> {
  const monitor = await survivor.qmp(join(dir, 'colo', name, 'qmp'));
  const status = async () =>
    (await monitor.execute('query-colo-status', undefined, 5000)) as { reason: string };
  await survivor.until('the loss', async () => (await status()).reason === 'error');
  monitor.dispose();
  expectDone(await colo(['failover', name, '--yes'], { env }));
}

/** As QMP tells of the disk: how it was brought into step, in bytes. */
interface Outcome {
  way: string;
  looked: number;
  copied: number;
}

interface Colo {
  disks: Outcome[];
  statistics: { checkpoints: number };
}

const writes = async (monitor: QmpClient) =>
  Number(/: *([0-9]+)/.exec(await monitor.hmp(`xp /1dw ${DiskGuest.DONE}`, 5000))?.[1]);
const status = async (monitor: QmpClient) =>
  (await monitor.execute('query-colo-status', undefined, 5000)) as Colo;

async function writesAlone(name: string, vm: ColoProcess, until: number): Promise<void> {
  const monitor = await vm.qmp(join(dir, 'colo', name, 'qmp'));
  await vm.until(`write ${until}`, async () => (await writes(monitor)) > until);
  monitor.dispose();
}

/** The guest stands still until both images hold all of it. */
async function compared(monitor: QmpClient, vm: ColoProcess): Promise<number> {
  await monitor.hmp('stop', 5000);
  const { checkpoints } = (await status(monitor)).statistics;
  await vm.until('two checkpoints more', async () => {
    return (await status(monitor)).statistics.checkpoints > checkpoints + 1;
  });
  const [p, s] = ['p.img', 's.img'].map(image => readFileSync(join(dir, image)));
  expect(p.equals(s)).toBe(true);
  const last = (await writes(monitor)) - 1;
  expect(numberAt(p, last % sectors)).toBe(last);
  await monitor.hmp('cont', 5000);
  return last;
}

withAddon(
  'either host is lost, again and again, and comes back as the secondary of the other (skipped ' +
    'where the addon is not built)',
  async () => {
    const sides = [
      { name: 'toy-primary', side: 'a' },
      { name: 'toy-secondary', side: 'b' },
    ];
    let standby = start('secondary');
    await standby.says('waits for the primary');
    let runs = start('primary');
    await runs.says('protected by');
    for (let round = 0; round < 3; round++) {
      const [lost, survivor] = round % 2 === 0 ? sides : [...sides].reverse();
      const before = await runs.qmp(join(dir, 'colo', lost.name, 'qmp'));
      const first = await compared(before, runs);
      before.dispose();
      runs.child.kill('SIGKILL');
      await runs.exited;
      await failover(survivor.name, standby);
      runs = standby;
      await writesAlone(survivor.name, runs, first + 2048);
      standby = start('secondary', '--side', lost.side);
      await standby.says('waits for the primary');
      const { code, err } = await colo(['protect', survivor.name, '--config', config()], { env });
      expect({ code, err }).toMatchObject({
        code: 0,
        err: expect.stringContaining('protected by'),
      });
      const monitor = await runs.qmp(join(dir, 'colo', survivor.name, 'qmp'));
      const [{ way, looked, copied }] = (await status(monitor)).disks;
      const written = ((await writes(monitor)) - first) * 512;
      process.stdout.write(
        `written meanwhile ${written}, looked at ${looked}, copied ${copied} bytes: ` +
          `${(copied / written).toFixed(2)}\n`,
      );
      expect(way).toBe('bitmaps');
      // Its first and its last region are written in part.
      expect(copied).toBeLessThanOrEqual(1.2 * written + 128 * KiB);
      expect(copied).toBeGreaterThan(0);
      expect(looked).toBeLessThan((sectors * 512) / 2);
      await compared(monitor, runs);
      monitor.dispose();
    }
  },
  limitMs,
);

withAddon(
  'a side needs a definition that has it (skipped where the addon is not built)',
  async () => {
    const refused = async (...words: string[]) => (await colo(words, { env })).err;
    const given = ['secondary', '--config', config()];
    expect(await refused(...given, '--side', 'c')).toContain('--side c: it is a or b');
    expect(await refused('secondary', '--side', 'a')).toContain('give --config too');
    expect(await refused('secondary', '-rejoin')).toContain(
      '-rejoin: this is about a pair definition: give --config too',
    );
    for (const word of ['-rejoin', '--side', '--config']) {
      // Here it is the value of another option.
      expect(await refused('primary', '-S', '-append', word)).toContain('-append need -kernel');
    }
    define();
    expect(await refused(...given, '--side', 'b', '-rejoin')).toContain("'back' is missing");
    expect(await refused(...given, '--side', 'a')).toContain(
      "'back' is missing: the addresses at which side a waits as the secondary",
    );
    define('back: {migration: "tcp:10.0.0.1:8888"}');
    expect(await refused(...given)).toContain("back: 'nbd' is missing");
  },
  limitMs,
);
