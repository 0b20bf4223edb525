/**
 * Goal: a mistake of ours ends COLO, never the guest. Method: real pairs from one definition with a
 * mistake made on purpose, in either process; the guest counts in memory, the monitors answer, and
 * the other side can be told to go on (skipped by name where the addon is not built).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AssertionError } from '../../../src/base/errors.js';
import { Guard } from '../../../src/commands/vm/guard.js';
import type { QmpClient } from '../../../src/monitor/qmp/client.js';
import { addonBuilt, colo, ColoProcess } from '../../support/colo-process.js';
import { fakeKernel } from '../../support/fake-kernel.js';
import { Assembler } from '../../support/toy-guest.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-mistake-'));
const env = { XDG_RUNTIME_DIR: dir };
const config = join(dir, 'toy.yaml');
const counter = 0x80_0000;
const limitMs = 120_000;
const started: ColoProcess[] = [];

/** Counts for ever. */
function kernel(): Buffer {
  const code = new Assembler(0).incDword(counter).code();
  return fakeKernel({ code: Buffer.from([...code, 0xeb, 0xfe - code.length]) });
}

const at = (name: string) => `unix:${join(dir, name)}`;

beforeAll(() => {
  writeFileSync(join(dir, 'vmlinuz'), kernel());
  const peer = `{migration: "${at('mig')}", nbd: "${at('nbd')}", wait: 100}`;
  const disk = '{primary: p.img, secondary: s.img, format: raw, size: 1M}';
  writeFileSync(
    config,
    `name: toy\nmemory: 32M\naccel: soft\nkernel: vmlinuz\ncheckpoint-delay: 50\npeer: ` +
      `${peer}\ndisks:\n  - ${disk}\n`,
  );
});
afterEach(async () => {
  for (const { child } of started) child.kill('SIGKILL');
  await Promise.all(started.splice(0).map(side => side.exited));
  for (const left of ['p.img', 's.img', 'colo', 'mig', 'nbd'])
    rmSync(join(dir, left), { recursive: true, force: true });
});
afterAll(() => rmSync(dir, { recursive: true }));

type Role = 'primary' | 'secondary';

async function start(role: Role, fault?: string): Promise<[ColoProcess, QmpClient]> {
  const injected = fault === undefined ? {} : { COLO_TEST: '1', COLO_FAULT_AT: fault };
  const side = new ColoProcess([role, '--config', config], { env: { ...env, ...injected } });
  started.push(side);
  return [side, await side.qmp(join(dir, 'colo', `toy-${role}`, 'qmp'))];
}

async function counted(monitor: QmpClient): Promise<number> {
  return Number(/: (0x[0-9a-f]+)/.exec(await monitor.hmp(`xp/1xw ${counter}`, 5000))?.[1]);
}

async function counts(side: ColoProcess, monitor: QmpClient): Promise<void> {
  const from = await counted(monitor);
  await side.until('the guest counts', async () => (await counted(monitor)) !== from);
}

const made = 'a mistake made on purpose';
const stacks = (text: string) => text.split(`Error: ${made}\n    at `).length - 1;

type Case = [string, Role, string];

describe('in a pair', () => {
  const cases: Case[] = [
    ['in the conversation of the primary', 'primary', 'primary-resumed:3:throw'],
    ['in a promise of the primary', 'primary', 'primary-committed:3:reject'],
    ['a storm in the primary', 'primary', 'primary-committed:3:storm'],
    ['in the conversation of the secondary', 'secondary', 'secondary-checked:3:throw'],
    ['in a promise of the secondary', 'secondary', 'secondary-checked:3:reject'],
  ];
  for (const [name, role, fault] of cases) {
    const title =
      `${name}: the guest goes on, and the other side can (skipped where the addon is not ` +
      'built)';
    withAddon(title, () => ends(role, fault), limitMs);
  }
});

async function ends(role: Role, fault: string): Promise<void> {
  const [secondary, theirs] = await start('secondary', role === 'secondary' ? fault : undefined);
  const [primary, ours] = await start('primary', role === 'primary' ? fault : undefined);
  const culprit = role === 'primary' ? primary : secondary;
  const lost = (side: Role) => colo(['status', `toy-${side}`, '--wait', 'lost'], { env });
  const [own, other] = [await lost(role), await lost(role === 'primary' ? 'secondary' : 'primary')];
  expect([own.code, other.code]).toEqual([0, 0]);
  expect(own.out).toContain(`internal error: ${made}`);
  expect(stacks(culprit.err)).toBe(1);
  await counts(primary, ours);
  expect(await ours.execute('query-status', undefined, 5000)).toMatchObject({ running: true });

  primary.child.kill('SIGKILL');
  const over = await colo(['failover', 'toy-secondary', '--yes', '--json'], { env });
  expect([over.err, over.code]).toEqual(['', 0]);
  await counts(secondary, theirs);
  ours.dispose();
  theirs.dispose();
}

withAddon(
  'while the state is loaded: that secondary is broken and says so, and the guest goes on ' +
    '(skipped where the addon is not built)',
  async () => {
    const [secondary, theirs] = await start('secondary', 'secondary-half-applied:2:throw');
    const [primary, ours] = await start('primary');
    await primary.says('the secondary has left: loading epoch 2: internal error: ');
    await secondary.says(
      'can never take over, its state is not whole: loading epoch 2: internal error',
    );
    await expect(theirs.execute('x-colo-lost-heartbeat', undefined, 5000)).rejects.toThrow(
      'is not whole',
    );
    await counts(primary, ours);
    ours.dispose();
    theirs.dispose();
  },
  limitMs,
);

test('a storm is one stack and one sum, and each mistake is acted on', () => {
  const lines: string[] = [];
  const timers: (() => void)[] = [];
  let acted = 0;
  const timer = (_ms: number, fn: () => void) => {
    timers.push(fn);
    return { dispose: () => undefined };
  };
  const act = () => {
    acted++;
    throw new Error('nor can this be done');
  };
  const guard = new Guard({ clock: { timer } as never, note: line => lines.push(line), act });
  for (let i = 0; i < 500; i++) guard.take(new AssertionError(`number ${i}`));
  expect([acted, timers.length, lines.length]).toEqual([500, 1, 1]);
  expect(lines[0]).toMatch(/^internal error, this process goes on: Error: number 0\n +at /);
  timers[0]();
  expect(lines.slice(1)).toEqual(['499 more since then, the last: internal error: number 499']);
  guard.take('no error at all');
  expect(lines[2]).toBe('internal error: no error at all');
  guard.dispose();
});
