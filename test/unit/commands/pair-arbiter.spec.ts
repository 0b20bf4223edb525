/**
 * Goal: a pair with an arbiter needs no person when a side dies. Method: the real processes from
 * one definition, with a directory as arbiter; one of them is killed, and nothing is ordered
 * (skipped by name where the addon is not built).
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ArbiterRecord } from '../../../src/arbiter/record.js';
import { addonBuilt, colo, ColoProcess } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const mark = 0x80_0000;
const limitMs = 120_000;
let dir: string;
let started: ColoProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'colo-arbiter-'));
  const at = (name: string) => `unix:${join(dir, name)}`;
  mkdirSync(join(dir, 'record'));
  writeFileSync(
    join(dir, 'vmlinuz'),
    fakeKernel({ code: Buffer.from(new Assembler(0).incDword(mark).hlt().code()) }),
  );
  writeFileSync(
    join(dir, 'toy.yaml'),
    'name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\ncheckpoint-delay: 50\n' +
      `peer: {migration: "${at('mig')}", nbd: "${at('nbd')}", wait: 100}\n` +
      `arbiter: file:${join(dir, 'record')}\n` +
      'disks:\n  - {primary: p.img, secondary: s.img, size: 4M}\n',
  );
});
afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true });
});

function start(role: 'primary' | 'secondary'): ColoProcess {
  const side = new ColoProcess([role, '--config', join(dir, 'toy.yaml')], {
    env: { XDG_RUNTIME_DIR: dir },
  });
  started = [...started, side];
  return side;
}

async function record(): Promise<ArbiterRecord | null> {
  const { out } = await colo(['arbiter', `file:${join(dir, 'record')}`, '--json']);
  return (JSON.parse(out) as { record: ArbiterRecord | null }).record;
}

withAddon.each([
  ['primary', 'secondary'],
  ['secondary', 'primary'],
] as const)(
  'the %s is killed, and the %s goes on by itself (skipped where the addon is not built)',
  async (dies, lives) => {
    const sides = { secondary: start('secondary'), primary: start('primary') };
    await sides.primary.until('a replica in step', async () => (await record())?.inStep === true);
    expect(await record()).toMatchObject({ owner: 'toy-primary', replica: 'toy-secondary' });
    sides[dies].child.kill('SIGKILL');
    await sides[lives].says(`the arbiter 'file:${join(dir, 'record')}' has this side go on`);
    await sides[lives].says('COLO: the guest goes on here; not protected');
    expect(await record()).toMatchObject({ owner: `toy-${lives}`, inStep: false });
    const monitor = await sides[lives].qmp(join(dir, 'colo', `toy-${lives}`, 'qmp'));
    expect(await monitor.hmp(`xp/1xw ${mark}`, 5000)).toMatch(/: 0x00000001\n$/);
    expect(await monitor.execute('query-status', undefined, 5000)).toMatchObject({ running: true });
    monitor.dispose();
  },
  limitMs,
);

withAddon(
  'definitions that name two arbiters: refused on both sides, with both names (skipped where the ' +
    'addon is not built)',
  async () => {
    const secondary = start('secondary');
    await secondary.says('waits for the primary');
    const other = readFileSync(join(dir, 'toy.yaml'), 'utf8').replace(/record$/m, 'elsewhere');
    writeFileSync(join(dir, 'toy.yaml'), other);
    const primary = start('primary');
    const why =
      `the primary has the arbiter 'file:${join(dir, 'elsewhere')}', which is away, this ` +
      `secondary the arbiter 'file:${join(dir, 'record')}': give both the same`;
    await primary.says(why);
    expect(await record()).toBeNull();
  },
  limitMs,
);

withAddon(
  'an option that is wrong is a sentence (skipped where the addon is not built)',
  async () => {
    const { err, code } = await colo(['primary', '-arbiter', 'file:x,node=a,peer=b', '-S']);
    expect([code, err]).toEqual([2, expect.stringContaining("'x' is not a whole path")]);
  },
  limitMs,
);

test('an arbiter that is none is told where it is written; with one colo run is next', async () => {
  const file = join(dir, 'asked.yaml');
  const init = (arbiter: string) =>
    colo(['init', file, '--kernel', 'k', '--arbiter', arbiter, '--yes']);
  expect(await init('nonsense')).toMatchObject({
    code: 2,
    err: expect.stringMatching(/^Error: --arbiter: unknown arbiter: 'nonsense'\. use file:DIR, /),
  });
  const { err, code } = await init('file:/srv/arbiter');
  expect([code, err]).toEqual([
    0,
    expect.stringContaining(`  colo run ${file}     on each of them`),
  ]);
  writeFileSync(file, readFileSync(file, 'utf8').replace('file:/srv', 'nfs:/srv'));
  expect(await colo(['run', file])).toMatchObject({
    code: 2,
    err: expect.stringMatching(/asked.yaml:\d+:\d+: arbiter: unknown arbiter: 'nfs:/),
  });
});
