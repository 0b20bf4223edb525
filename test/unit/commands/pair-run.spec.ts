/**
 * Goal: two commands make a pair, and a third takes over. Method: the real processes from one
 * definition, a guest of two instructions that leaves a mark in memory; the secondary comes late,
 * the primary is killed (skipped by name where the addon is not built).
 */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonBuilt, colo, ColoProcess } from '../../support/colo-process.js';
import { keys, Person } from '../../support/person.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-pair-'));
const program = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const env = { XDG_RUNTIME_DIR: dir };
const config = join(dir, 'toy.yaml');
const mark = 0x80_0000;
const limitMs = 120_000;
const started: ColoProcess[] = [];

beforeAll(() =>
  writeFileSync(
    join(dir, 'vmlinuz'),
    fakeKernel({ code: Buffer.from(new Assembler(0).incDword(mark).hlt().code()) }),
  ),
);
afterEach(() => started.splice(0).forEach(({ child }) => child.kill('SIGKILL')));
afterAll(() => rmSync(dir, { recursive: true }));

function define(wait: number, more = ''): void {
  const at = (name: string) => `unix:${join(dir, name)}`;
  writeFileSync(
    config,
    `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\ncheckpoint-delay: 50\npeer: ` +
      `{migration: "${at('mig')}", nbd: "${at('nbd')}", wait: ${wait}}\ndisks:\n  - {primary: ` +
      `p.img, secondary: s.qcow2, active: a.qcow2, hidden: h.qcow2, format: qcow2, size: 4M}\n` +
      more,
  );
}

function start(role: 'primary' | 'secondary', ...options: string[]): ColoProcess {
  const side = new ColoProcess([role, '--config', config, ...options], { env });
  started.push(side);
  return side;
}

/** STOP and RESUME of checkpoints, which go on without them. */
async function checkpointEventsCanBeOff(primary: ColoProcess): Promise<void> {
  const monitor = await primary.qmp(join(dir, 'colo', 'toy-primary', 'qmp'));
  let stops = 0;
  monitor.onEvent(({ event }) => void (stops += event === 'STOP' ? 1 : 0));
  await primary.until('a STOP', () => stops > 0);
  const checkpoints = async () =>
    Number(/checkpoints: *([0-9]+)/.exec(await monitor.hmp('info colo', 5000))?.[1]);
  expect(await monitor.hmp('migrate_set_parameter x-checkpoint-events off', 5000)).toBe('');
  const before = await checkpoints();
  stops = 0;
  await primary.until('two checkpoints more', async () => (await checkpoints()) > before + 1);
  expect([before > 0, stops <= 1]).toEqual([true, true]); // one may have been under way
  expect(await monitor.hmp('info migrate_parameters', 5000)).toContain('x-checkpoint-events: off');
  monitor.dispose();
}

withAddon(
  'a late secondary is waited for; one that is silent is taken over, with --yes (skipped ' +
    'where the addon is not built)',
  async () => {
    define(100);
    const primary = start('primary');
    await primary.says('waiting for the secondary, ');
    const secondary = start('secondary');
    await secondary.says(
      `waits for the primary at unix:${join(dir, 'mig')}, its disks are at ` +
        `unix:${join(dir, 'nbd')}`,
    );
    await primary.says(`protected by unix:${join(dir, 'mig')}: a checkpoint at least every 50 ms`);
    expect(primary.err).toContain(`colo primary: made ${join(dir, 'p.img')}: qcow2, 4194304 bytes`);
    for (const image of ['p.img', 's.qcow2', 'a.qcow2', 'h.qcow2'])
      expect(statSync(join(dir, image)).size).toBeGreaterThan(0);

    await checkpointEventsCanBeOff(primary);
    const monitor = await secondary.qmp(join(dir, 'colo', 'toy-secondary', 'qmp'));
    await monitor.hmp('migrate_set_parameter x-heartbeat-timeout 500', 5000);
    // Silent, and nobody can tell from here whether it is dead.
    primary.child.kill('SIGSTOP');
    const waited = await colo(['status', 'toy-secondary', '--wait', 'lost'], { env });
    expect([waited.code, waited.out]).toMatchObject([
      0,
      expect.stringContaining('let this one go on: colo failover toy-secondary'),
    ]);
    const refused = await colo(['failover', 'toy-secondary'], { env });
    expect([refused.code, refused.out]).toEqual([1, '']);
    expect(refused.err).toMatch(
      /^Error: The other side, .*, may still run: no sign of life from the peer for 500 ms\. .*\nIf this is meant: --yes\.\n$/,
    );

    const person = new Person([program, 'failover', 'toy-secondary'], { env, columns: 120 });
    await person.sees('Go on all the same? [y/N]');
    await person.press('n', keys.enter);
    await person.sees('Error: nothing was done');
    expect(await person.exited).toBe(1);

    primary.child.kill('SIGKILL');
    const { out, code } = await colo(['failover', 'toy-secondary', '--yes', '--json'], { env });
    await secondary.says('COLO: the guest goes on here; not protected');
    expect([JSON.parse(out), code]).toMatchObject([
      { name: 'toy-secondary', role: 'alone', state: 'running' },
      0,
    ]);
    expect(await monitor.hmp(`xp/1xw ${mark}`, 5000)).toMatch(/: 0x00000001\n$/);
    monitor.dispose();
  },
  limitMs,
);

withAddon(
  'sides that differ are told apart, the guest goes on, and nothing is left behind (skipped ' +
    'where the addon is not built)',
  async () => {
    define(0);
    // another pair
    for (const image of ['p.img', 's.qcow2', 'a.qcow2', 'h.qcow2']) rmSync(join(dir, image));
    const secondary = start('secondary', '-m', '64');
    await secondary.says('waits for the primary');
    const primary = start('primary');
    await primary.says('not protected: ');
    expect(primary.err).toMatch(/not protected: .*(RAM|memory|ramBytes)/i);
    expect(primary.err).toContain('When the secondary is there: colo protect NAME --config FILE');
    define(0, 'checkpoint-gap: 23\nheartbeat-interval: 77\n');
    const { err, code } = await colo(['protect', 'toy-primary', '--config', config], { env });
    expect(err).toMatch(/^replicas attached: disk0\nError: not protected: /);
    expect(code).toBe(1);
    const monitor = await primary.qmp(join(dir, 'colo', 'toy-primary', 'qmp'));
    expect(await monitor.hmp('info block', 5000)).not.toContain('replica');
    const parameters = await monitor.hmp('info migrate_parameters', 5000);
    expect(parameters).toMatch(/x-checkpoint-gap: 23 ms[^]*x-heartbeat-interval: 77 ms/);
    expect(await monitor.execute('query-status', undefined, 5000)).toMatchObject({ running: true });
    monitor.dispose();
  },
  limitMs,
);

withAddon(
  'an image that is missing is made only with a size (skipped where the addon is not built)',
  async () => {
    writeFileSync(
      config,
      'name: toy\nmemory: 32M\nkernel: vmlinuz\npeer: {migration: "unix:/x", nbd: ' +
        '"unix:/y"}\ndisks:\n  - {primary: none.img, secondary: none.img}\n',
    );
    expect(await colo(['primary', '--config', config], { env })).toEqual({
      out: '',
      err:
        `Error: ${config}: disks[0]: '${join(dir, 'none.img')}' does not exist\nMake it ` +
        `(colo image create), or give the disk a \`size\`: then it is made.\n`,
      code: 1,
    });
    expect(existsSync(join(dir, 'none.img'))).toBe(false);
  },
  limitMs,
);
