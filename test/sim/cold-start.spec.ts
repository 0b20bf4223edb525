/**
 * Goal: both hosts were off, and come back in any order, at once, or one for ever away: the
 * arbiter's record decides who goes on, and one does at most. Method: the simulated pair in step,
 * whose hosts lose power together, and new processes on what they have kept.
 */
import { decodePairRecord, encodePairRecord } from '../../src/block/record/pair-record.js';
import { inStep, inStepByAgents } from './in-step.js';
import type { Pair } from './pair.js';
import type { SimVm } from './vm.js';

const waitMs = 400;
const after = (p: Pair, ms: number) => p.world.run(p.world.now + ms);
const recordOf = (vm: SimVm) =>
  decodePairRecord(vm.storage.inodes.get(vm.images[0])!.label! as Uint8Array);

/**
 * Both are ended at once. whole: the replica's image is as it is of a guest that has written
 * nothing since the pair was made; otherwise the mark of part of an epoch stays.
 */
async function bothOff(seed: number, whole = true) {
  const { p, store } = await inStep(seed);
  for (const vm of [p.primary, p.secondary]) vm.node.crash(true);
  const record = recordOf(p.secondary);
  expect(record).toMatchObject({ role: 'secondary', state: 'protected', partial: true });
  const inode = p.secondary.storage.inodes.get('/s0.img')!;
  if (whole) inode.label = encodePairRecord({ ...record, partial: false });
  await after(p, 500);
  return { p, store: store! };
}

async function replica(p: Pair): Promise<SimVm> {
  const vm = await p.world.play(p.bootAgain(p.secondary));
  await vm.listenForPrimary();
  void vm.colo.coldStart!.decide(waitMs);
  return vm;
}

/** It runs when something lets it; a peer that is there follows it. */
async function owner(p: Pair): Promise<SimVm> {
  const vm = await p.world.play(p.bootAgain(p.primary));
  await expect(p.world.play(vm.start())).rejects.toThrow('had a secondary');
  void vm.colo.coldStart!.decide(waitMs);
  return vm;
}

const expectWell = (p: Pair) => expect(p.world.failures).toEqual([]);

it.each(['both at once', 'owner first', 'replica first'])('%s: it is a pair again', async order => {
  const { p, store } = await bothOff(1);
  if (order === 'replica first') await replica(p);
  await after(p, order === 'replica first' ? waitMs / 2 : 0);
  const primary = await owner(p);
  if (order === 'owner first') await after(p, waitMs / 2);
  expect(primary.running).toBe(false);
  const secondary = order === 'replica first' ? p.secondary : await replica(p);
  void primary.protect();
  for (let n = 0; n < 20 && !primary.running; n++) {
    await after(p, 5);
    primary.start().catch(() => undefined); // it asks again
  }
  await after(p, 2 * waitMs);
  expect([primary, secondary].map(vm => vm.colo.info().state)).toEqual(['protected', 'protected']);
  // It may stand still for a checkpoint just now.
  while (primary.lifecycle.state === 'colo') await after(p, 1);
  expect([primary.running, secondary.running]).toEqual([true, false]);
  expect(store.history.at(-1)).toMatchObject({ owner: 'P', replica: 'S', inStep: true });
  expectWell(p);
});

it('the replica for ever away: the owner runs, and not before it has waited', async () => {
  const { p, store } = await bothOff(2);
  const primary = await owner(p);
  await after(p, waitMs - 20);
  expect(primary.running).toBe(false);
  await after(p, 200);
  expect([primary.running, recordOf(primary).state]).toEqual([true, 'alone']);
  const { branch } = recordOf(primary);
  expect(store.history.at(-1)).toMatchObject({ owner: 'P', inStep: false, branch });
  // What it has done since, the replica does not take over.
  const late = await replica(p);
  await after(p, 2 * waitMs);
  expect(late.colo.coldStart!.won).toBe(false);
  expectWell(p);
});

it('the owner for ever away: a replica in step goes on, and not before it has waited', async () => {
  const { p, store } = await bothOff(3);
  const secondary = await replica(p);
  await after(p, waitMs - 20);
  expect(store.history.at(-1)!.owner).toBe('P');
  await after(p, 200);
  expect(secondary.colo.coldStart!.won).toBe(true);
  expect(recordOf(secondary)).toMatchObject({ role: 'primary', state: 'alone', generation: 2 });
  const { branch } = recordOf(secondary);
  expect(store.history.at(-1)).toMatchObject({ owner: 'S', inStep: false, branch });
  // Whoever asks it meanwhile hears so, and an owner that comes at last is none.
  const primary = await owner(p);
  const ask = primary.colo.askPeer('tcp:secondary:8888', 100);
  await expect(p.world.play(ask)).rejects.toThrow('has taken over');
  await after(p, 2 * waitMs);
  expect([primary.running, primary.colo.superseded]).toEqual([false, true]);
  expectWell(p);
});

it('the owner hears from the arbiter alone that it is none', async () => {
  const { p } = await bothOff(4);
  const secondary = await replica(p);
  await after(p, waitMs + 200);
  secondary.node.crash(true);
  const primary = await owner(p);
  await after(p, 300);
  expect([primary.running, recordOf(primary).state]).toEqual([false, 'yielded']);
  expectWell(p);
});

it('a replica whose disk holds part of an epoch does not go on', async () => {
  const { p, store } = await bothOff(5, false);
  const secondary = await replica(p);
  await after(p, 3 * waitMs);
  expect([secondary.colo.coldStart!.won, store.history.at(-1)!.owner]).toEqual([false, 'P']);
  expect(p.world.log.at(-1)).toContain('the images here may hold part of an epoch');
});

it('neither reaches the other: one of them goes on', async () => {
  const winners = new Set<string>();
  for (let seed = 10; seed < 18; seed++) {
    const { p, store } = await bothOff(seed);
    store.loseAnswers = 0.3;
    const [primary, secondary] =
      seed % 2 === 0 ? [await owner(p), await replica(p)] : await swapped(p);
    await after(p, 4 * waitMs);
    const { owner: winner } = store.history.at(-1)!;
    expect([seed, primary.running, secondary.colo.coldStart!.won]).toEqual([
      seed,
      winner === 'P',
      winner === 'S',
    ]);
    winners.add(winner);
    expectWell(p);
  }
  expect([...winners].sort()).toEqual(['P', 'S']);
}, 300_000);

const swapped = async (p: Pair) => {
  const secondary = await replica(p);
  await after(p, 15);
  return [await owner(p), secondary] as const;
};

/** The replica won the record, and was off before it had written that at its images. */
async function wonAndOff(seed: number, whole: boolean) {
  const { p, store } = await bothOff(seed, whole);
  const last = store.history.at(-1)!;
  const won = { owner: 'S', replica: undefined, inStep: false, branch: 'f'.repeat(32) };
  store.history.push({ ...last, ...won, term: last.term + 1 });
  return { p, store };
}

it('a replica that had won when it crashed goes on', async () => {
  const { p, store } = await wonAndOff(6, true);
  const secondary = await replica(p);
  await after(p, 300);
  expect([secondary.colo.coldStart!.won, recordOf(secondary).role]).toEqual([true, 'primary']);
  expect(store.history.at(-1)!.branch).toBe(recordOf(secondary).branch);
});

it('a replica that had won goes on when its images take that', async () => {
  const { p } = await wonAndOff(10, true);
  const { storage } = p.secondary;
  const fault = (operation: string) =>
    operation === 'write-label' ? ('ENOSPC' as const) : undefined;
  storage.faults = { latencyMs: [0.02, 0.3], fault };
  const secondary = await replica(p);
  await after(p, waitMs);
  const { coldStart } = secondary.colo;
  expect([coldStart!.won, coldStart!.doorShut]).toEqual([false, true]);
  expect(p.world.log.join('\n')).toMatch(/COLO: the record of image .* cannot be written/);
  storage.faults = { latencyMs: [0.02, 0.3], fault: () => undefined };
  await after(p, waitMs);
  expect([coldStart!.won, recordOf(secondary).state]).toEqual([true, 'alone']);
});

it('a replica that had won does not go on from part of an epoch', async () => {
  const { p } = await wonAndOff(9, false);
  const secondary = await replica(p);
  await after(p, 3 * waitMs);
  expect(secondary.colo.coldStart!.won).toBe(false);
  expect(p.world.log.at(-1)).toContain('the images here may hold part of an epoch');
});

it('an arbiter that is away decides nothing', async () => {
  const { p, store } = await bothOff(7);
  for (const name of ['P', 'S']) store.away(name, true);
  const [primary, secondary] = await swapped(p);
  await after(p, 3 * waitMs);
  expect([primary.running, secondary.colo.coldStart!.won]).toEqual([false, false]);
  store.away('S', false);
  await after(p, 300);
  expect(secondary.colo.coldStart!.won).toBe(true);
  store.away('P', false);
  await after(p, 300);
  expect([primary.running, primary.colo.superseded]).toEqual([false, true]);
  expectWell(p);
});

it.each(['P', 'S'])(
  'a record of its own: %s, which was switched off, does not go on by what it knew',
  async name => {
    const { p, stores } = await inStepByAgents(8);
    const [lost, other] = name === 'P' ? [p.primary, p.secondary] : [p.secondary, p.primary];
    lost.node.crash(true);
    await after(p, 1500);
    expect([other.running, stores.get(other.name)!.history.at(-1)!.owner]).toEqual([
      true,
      other.name,
    ]);
    if (name === 'S') {
      const inode = p.secondary.storage.inodes.get('/s0.img')!;
      inode.label = encodePairRecord({ ...recordOf(p.secondary), partial: false });
    }
    // Its own record still calls it what it was, and its agent would have the other side off.
    const asked = stores.get(name)!.history.length;
    const again = await (name === 'P' ? owner(p) : replica(p));
    await after(p, 3 * waitMs);
    expect([again.running, again.colo.coldStart!.won]).toEqual([false, false]);
    expect(stores.get(name)!.history.length).toBe(asked);
    expect(p.world.log.join('\n')).toContain('does not know what became of the guest while');
    expectWell(p);
  },
);
