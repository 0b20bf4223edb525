/**
 * Goal: why a pair is as it is, and since when, is told by every window: query-vm, info colo, the
 * terminal of the process, and a program that waits for it, however late it asks. What is advised
 * is accepted. Method: two whole VMs of this process that are joined, cut and decided upon.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { untilPair } from '../../../src/commands/wait-pair.js';
import { addonBuilt } from '../../support/colo-process.js';
import { diskGuest } from '../../support/disk-guest.js';
import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const withAddon = addonBuilt ? test : test.skip;
const dir = mkdtempSync(join(tmpdir(), 'colo-health-'));
const vms: VmInProcess[] = [];
beforeAll(() => writeFileSync(join(dir, 'vmlinuz'), diskGuest({ sectors: 8 })));
afterEach(async () => {
  for (const vm of vms.splice(0)) await vm.dispose();
});
afterAll(() => rmSync(dir, { recursive: true }));

const incoming = `unix:${join(dir, 'mig')}`;
const common = ['-m', '32', '-accel', 'soft', '-kernel', join(dir, 'vmlinuz')];
interface VmAnswer {
  pair: string;
  error?: string;
  'since-ms': number;
  'last-checkpoint-ms'?: number;
}
const look = async (vm: VmInProcess) => (await vm.qmp('query-vm')) as VmAnswer;

async function start(role: 'primary' | 'secondary', ...more: string[]): Promise<VmInProcess> {
  const vm = await VmInProcess.start(specOf(role, [...common, ...more]));
  vms.push(vm);
  return vm;
}

async function join2(primary: VmInProcess): Promise<void> {
  await primary.qmp('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-colo', state: true }],
  });
  await primary.qmp('migrate-set-parameters', { 'x-checkpoint-delay': 20 });
  await primary.qmp('migrate', { uri: incoming });
}

async function protectedPair(): Promise<{ primary: VmInProcess; secondary: VmInProcess }> {
  const secondary = await start('secondary', '-incoming', incoming);
  const primary = await start('primary');
  await join2(primary);
  await untilPair(primary.monitor, 'protected', 20_000);
  await untilPair(secondary.monitor, 'protected', 20_000);
  return { primary, secondary };
}

const cut = (vm: VmInProcess) => vm.qmp('yank', { instances: [{ type: 'migration' }] });

withAddon('a pair that is cut: both say why, and go on as they advise', async () => {
  const { primary, secondary } = await protectedPair();
  expect(await look(secondary)).toMatchObject({
    pair: 'protected',
    'last-checkpoint-ms': expect.any(Number) as number,
  });
  expect(await primary.hmp('info vm')).toContain(
    'pair: protected: the loss of this host would be survived',
  );
  await secondary.until('its terminal', () => secondary.told.length === 1);
  expect(secondary.told).toEqual(['COLO: ready to take over']);

  await cut(primary);
  for (const vm of [primary, secondary]) await untilPair(vm.monitor, 'lost', 20_000);
  // Asked late, it is answered at once.
  await untilPair(primary.monitor, 'lost', 1);
  expect(await look(primary)).toMatchObject({ pair: 'lost', error: 'the connection was yanked' });
  expect(await primary.qmp('query-colo-status')).toMatchObject({
    reason: 'error',
    error: 'the connection was yanked',
  });
  expect((await look(secondary)).error).toContain('the connection was yanked');
  expect(await primary.hmp('info colo')).toMatch(
    /^error: the connection was yanked\nsince: \d+s\nlast checkpoint: [\d.]+ s ago$/m,
  );
  const advice = await secondary.hmp('info vm');
  expect(advice).toMatch(/pair: protection was lost.*yanked; if .* go on: x_colo_lost_heartbeat$/m);
  expect(secondary.told.slice(1)).toEqual([
    expect.stringMatching(/^COLO: protection was lost: .*yanked$/),
    expect.stringMatching(/^If the other side is surely dead.*: colo failover NAME$/),
  ]);

  await primary.dispose();
  expect(await secondary.hmp(/x_colo_lost_heartbeat/.exec(advice)![0])).toBe('');
  await untilPair(secondary.monitor, 'alone', 20_000);
  const after = await look(secondary);
  expect(after.error).toContain('yanked');
  expect(after['since-ms']).toBeLessThan(10_000);
  expect(secondary.told.at(-1)).toMatch(/^COLO: the guest goes on here; not protected.*yanked$/);
  await expect(untilPair(secondary.monitor, 'lost', 50)).rejects.toThrow(
    'the pair is alone, not lost, after 0.05 s',
  );
});

withAddon('what never was in COLO is not told to fail over', async () => {
  const primary = await start('primary');
  await join2(primary);
  await primary.until('the failure', async () => (await look(primary)).error !== undefined);
  expect(await look(primary)).toMatchObject({
    pair: 'alone',
    error: expect.stringContaining('Failed to connect') as string,
  });
  expect(await primary.hmp('info vm')).not.toContain('x_colo_lost_heartbeat');
  const secondary = await start('secondary', '-incoming', incoming);
  expect(await look(secondary)).toMatchObject({ pair: 'waiting' });
  expect(await secondary.hmp('info vm')).toContain(
    'pair: waits for a primary: it cannot take over yet\n',
  );
});

withAddon('STOP and RESUME of checkpoints can be told from others', async () => {
  const { primary } = await protectedPair();
  expect(await primary.event('RESUME')).toBeUndefined(); // it was started
  expect(await primary.event('STOP')).toEqual({ checkpoint: true });
  expect(await primary.event('RESUME')).toEqual({ checkpoint: true });
  await primary.qmp('x-colo-lost-heartbeat');
  await untilPair(primary.monitor, 'alone', 20_000);
  await primary.qmp('stop');
  await primary.qmp('cont');
  const rest: unknown[] = [];
  await primary.until('a STOP of the user', async () => {
    rest.push(await primary.event('STOP'));
    return rest.at(-1) === undefined;
  });
  expect(rest.length).toBeGreaterThan(0);
});

withAddon('a VM that ends while somebody waits', async () => {
  const vm = await start('primary');
  const waiting = untilPair(vm.monitor, 'protected', 20_000);
  waiting.catch(() => undefined);
  await vm.dispose();
  await expect(waiting).rejects.toThrow();
});

withAddon('signs of life: their times are checked together, and count at once', async () => {
  const { primary, secondary } = await protectedPair();
  const set = (given: Record<string, number>) => primary.qmp('migrate-set-parameters', given);
  const times = async () => {
    const all = (await primary.qmp('query-migrate-parameters')) as Record<string, number>;
    return [all['x-heartbeat-interval'], all['x-heartbeat-timeout'], all['x-checkpoint-delay']];
  };
  expect(await times()).toEqual([100, 1000, 20]);
  await expect(set({ 'x-heartbeat-interval': 501, 'x-checkpoint-delay': 77 })).rejects.toThrow(
    'it is at most 500 ms',
  );
  await expect(set({ 'x-heartbeat-timeout': 299 })).rejects.toThrow('at least 3 intervals, 300 ms');
  await expect(set({ 'x-heartbeat-timeout': 0 })).rejects.toThrow('x-heartbeat-timeout');
  expect(await times()).toEqual([100, 1000, 20]);
  await set({ 'x-heartbeat-interval': 50, 'x-heartbeat-timeout': 300 });
  expect(await times()).toEqual([50, 300, 20]);
  expect(await primary.hmp('migrate_set_parameter x-heartbeat-timeout 400')).toBe('');
  // A peer that says nothing, though its process lives: its main loop is stuck.
  const { colo } = primary.vm as unknown as {
    colo: { session: { link: { stream: { pause(): void } } } };
  };
  colo.session.link.stream.pause();
  await untilPair(primary.monitor, 'lost', 20_000);
  expect((await look(primary)).error).toBe('the peer lives, and has said nothing for 5000 ms');
  expect((await look(secondary)).pair).not.toBe('alone');
});
