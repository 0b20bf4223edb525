/**
 * Goal: a guest that migrates without COLO runs in one place at every moment, whenever and wherever
 * the connection breaks; it stands still for downtime-limit at most. Method: the simulated pair
 * with x-colo off, the connection cut after each of many numbers of bytes.
 */
import { PAGE_BYTES } from '../../src/migration/pages.js';
import { MigrationState } from '../../src/migration/status.js';
import { type VmError } from '../../src/base/errors.js';
import type { Misfortune } from './misfortunes.js';
import { Pair } from './pair.js';
import { SCRIBBLE } from './program.js';
import type { SimVm } from './vm.js';

async function pair(...misfortunes: Misfortune[]): Promise<Pair> {
  const p = await Pair.create({ seed: 9, misfortunes, disks: 0 });
  for (const misfortune of misfortunes) p.arrange(misfortune);
  p.later = () => undefined;
  // There is no takeover here: either side may have the guest.
  p.history.speaks = () => undefined;
  for (const side of [p.primary, p.secondary]) await side.useColo(false);
  void p.primary.start();
  await p.secondary.listenForPrimary();
  return p;
}

/** Zeroes cost nothing on the wire, and a guest has some when it has booted. */
async function fill(p: Pair): Promise<void> {
  await p.world.run(20);
  p.primary.ram.fill(SCRIBBLE.at, SCRIBBLE.pages * PAGE_BYTES, 7);
}
const places = (p: Pair) =>
  [p.primary, p.secondary].filter(side => side.running).map(side => side.name);

/** What became of the guest at the source. */
function moved({ lifecycle }: SimVm): 'no' | 'leaving' | 'gone' | 'may-continue' {
  if (lifecycle.state === 'finish-migrate') return 'leaving';
  if (lifecycle.state !== 'postmigrate') return 'no';
  try {
    lifecycle.checkMigratable();
  } catch (error) {
    return (error as VmError).options.hint === undefined ? 'gone' : 'may-continue';
  }
  throw new Error('a guest that has moved cannot be migrated');
}

it('moves the guest: source completed, destination runs, and it waits for nobody any more', async () => {
  const p = await pair();
  const passes: number[] = [];
  p.primary.events.on('MIGRATION_PASS', e => passes.push(e.pass));
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(300);
  expect([
    p.primary.colo.query().status,
    p.secondary.colo.query().status,
    places(p),
    moved(p.primary),
  ]).toEqual(['completed', 'completed', ['S'], 'gone']);
  expect(passes).toEqual(passes.map((_, i) => i + 1));
  expect(p.primary.colo.query()).toMatchObject({
    passes: passes.length,
    remainingPages: 0,
    outgoing: true,
  });
  expect(p.secondary.step).toBeGreaterThan(0);
  await p.secondary.useColo(true);
  expect(() => p.secondary.colo.migrate('tcp:nobody:1')).not.toThrow();
});

it('downtime-limit: no stop while too much is dirty; raised, it is over', async () => {
  const p = await pair();
  await p.primary.user.set({ 'downtime-limit': 0 });
  await p.primary.user.set({ 'max-bandwidth': 400_000 });
  await fill(p);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(900);
  const before = p.primary.colo.query();
  expect([
    before.status,
    before.passes > 2,
    before.expectedDowntimeMs! > 0,
    before.dirtyRate > 0,
    places(p),
  ]).toEqual(['active', true, true, true, ['P']]);
  // the guest dirties all of its RAM in a pass: 246 ms at that rate
  await p.primary.user.set({ 'downtime-limit': 300 });
  await p.world.run(1500);
  expect([p.primary.colo.query().status, places(p)]).toEqual(['completed', ['S']]);
  expect(p.primary.colo.query().downtimeMs!).toBeLessThan(350);
});

it('max-bandwidth is kept', async () => {
  const p = await pair();
  await p.primary.user.set({ 'max-bandwidth': 100_000 });
  await fill(p);
  await p.primary.migrate('tcp:s:8888');
  await p.world.run(200);
  const from = p.primary.colo.query().transferredBytes;
  await p.world.run(600);
  const rate = (p.primary.colo.query().transferredBytes - from) / 0.4;
  expect(rate).toBeGreaterThan(70_000);
  expect(rate).toBeLessThan(130_000);
});

it.each([['P'], ['S']] as const)(
  'the connection from %s is cut at any byte: one guest, and a user is told when nobody can know',
  async from => {
    const seen = new Set<string>();
    const size = from === 'P' ? 40_000 : 60;
    for (let bytes = 0; bytes < size; bytes += from === 'P' ? 997 : 2) {
      const p = await pair({ kind: 'cut', from, bytes });
      await p.primary.migrate('tcp:s:8888');
      await p.world.run(1500);
      const { status, error } = p.primary.colo.query();
      const where = places(p).join('');
      seen.add(`${status} ${moved(p.primary)} ${where}`);
      if (moved(p.primary) === 'may-continue')
        expect(error).toContain(
          'the destination did not say that it runs: look there before a cont here',
        );
      else expect([bytes, where]).toEqual([bytes, status === 'completed' ? 'S' : 'P']);
      expect(moved(p.primary)).not.toBe('leaving');
    }
    expect([...seen]).toContain('failed no P');
  },
);

it('a destination that falls silent before it has loaded: the guest goes on at the source', async () => {
  const p = await pair();
  await p.primary.migrate('tcp:s:8888');
  while (p.primary.colo.query().status !== 'device') await p.world.run(p.world.now + 0.2);
  p.network.block(2000);
  await p.world.run(p.world.now + 1500);
  expect([p.primary.colo.query().status, places(p), moved(p.primary)]).toEqual([
    'failed',
    ['P'],
    'no',
  ]);
});

it('what is not a move is our mistake', () => {
  const migration = new MigrationState({ emit: () => undefined } as never, () => 0);
  for (const to of ['setup', 'active', 'device', 'completed'] as const) migration.move(to);
  expect(() => migration.move('device')).toThrow('migration state completed -> device');
});
