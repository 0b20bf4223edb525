/**
 * Goal: a pair with an arbiter goes on without a person, and never on both sides. Method: the
 * simulated pair, whose hosts are ended and cut apart, with an arbiter that is in reach, away, or
 * forgets its answers.
 */
import type { SimNode } from '../support/sim/node.js';
import { SimArbiterStore } from '../support/sim/arbiter.js';
import { Pair } from './pair.js';
import { ports } from './command-line.js';
import { inStepByAgents } from './in-step.js';

async function inStep(seed: number) {
  const made: { store?: SimArbiterStore } = {};
  const arbiter = (node: SimNode) =>
    (made.store ??= new SimArbiterStore(node.world)).open(node, 40);
  const p = await Pair.create({ seed, misfortunes: [] }, { arbiter });
  const store = made.store!;
  // Nobody is there.
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  await p.primary.migrate();
  await p.world.run(300);
  expect(store.history.at(-1)).toMatchObject({ owner: 'P', replica: 'S', inStep: true });
  return { p, store };
}

const states = ({ primary, secondary }: Pair) => [
  primary.colo.info().state,
  secondary.colo.info().state,
];

it.each([1, 2, 3, 4, 5])('seed %i: the primary dies, and the secondary takes over', async seed => {
  const { p, store } = await inStep(seed);
  p.primary.node.crash(true);
  await p.world.run(p.world.now + 1500);
  expect(p.world.failures).toEqual([]);
  expect([p.secondary.colo.info().state, p.secondary.running]).toEqual(['completed', true]);
  expect(store.history.at(-1)).toMatchObject({ owner: 'S', replica: undefined, inStep: false });
});

it.each([1, 2, 3, 4, 5])('seed %i: the secondary dies, and the primary goes on', async seed => {
  const { p, store } = await inStep(seed);
  p.secondary.node.crash(true);
  await p.world.run(p.world.now + 1500);
  expect(p.world.failures).toEqual([]);
  expect([p.primary.colo.info().state, p.primary.running]).toEqual(['completed', true]);
  expect(store.history.at(-1)).toMatchObject({ owner: 'P', replica: undefined, inStep: false });
});

it('cut apart, exactly one side goes on, and the other stops for good', async () => {
  const owners = new Set<string>();
  for (let seed = 1; seed <= 20; seed++) {
    const { p, store } = await inStep(seed);
    store.loseAnswers = 0.3;
    p.network.cut(ports.migration);
    await p.world.run(p.world.now + 2500);
    expect([seed, p.world.failures]).toEqual([seed, []]);
    expect([seed, states(p).sort()]).toEqual([seed, ['completed', 'yielded']]);
    const { owner } = store.history.at(-1)!;
    const winner = p.primary.colo.info().state === 'completed' ? p.primary : p.secondary;
    expect([seed, owner, winner.running]).toEqual([seed, winner.name, true]);
    owners.add(owner);
  }
  expect([...owners].sort()).toEqual(['P', 'S']);
}, 60_000);

it('50 seeds: whatever fails, the output is one side’s', async () => {
  const ends: Record<string, number> = {};
  for (let seed = 1; seed <= 50; seed++) {
    const { p, store } = await inStep(seed);
    const { random, now } = p.world;
    store.loseAnswers = 0.2;
    store.delayMs = [0.2, 60];
    for (const name of ['P', 'S']) {
      store.away(name, random.chance(0.4));
      p.world.at(now + random.between(200, 900), () => store.away(name, false));
    }
    for (let n = 0; n < 2; n++) p.world.at(now + random.between(0, 300), () => strike(p));
    await p.world.run(now + 5000);
    expect([seed, p.world.failures]).toEqual([seed, []]);
    const end = states(p).sort().join(' ');
    ends[end] = (ends[end] ?? 0) + 1;
    expect([seed, end]).not.toEqual([seed, 'completed completed']);
  }
  expect(ends['completed yielded']).toBeGreaterThan(10);
}, 120_000);

function strike(p: Pair): void {
  const { random } = p.world;
  const side = random.pick([p.primary, p.secondary]);
  random.pick([
    () => p.network.cut(ports.migration),
    () => p.network.block(random.between(100, 1500)),
    () => side.node.pause(random.between(50, 1500)),
    () => side.node.crash(random.chance(0.5)),
  ])();
}

const replicaFails: Record<string, (p: Pair) => void> = {
  'the link of its disk': p => p.network.cut(ports.nbd),
  'its disk': p => {
    const fault = (operation: string, path: string) =>
      operation === 'pwrite' && path.startsWith('/s') ? ('EIO' as const) : undefined;
    p.secondary.storage.faults = { latencyMs: [0.02, 0.3], fault };
  },
};

it.each(Object.keys(replicaFails))(
  'a replica that loses %s is dropped: the primary goes on, and says why',
  async what => {
    for (let seed = 1; seed <= 10; seed++) {
      const { p, store } = await inStep(seed);
      // The replica is asked long before the owner's claim is through.
      store.delayMs = [1, 60];
      replicaFails[what](p);
      // A claim takes several answers, and some are given up.
      for (const end = p.world.now + 6000; p.world.now < end && states(p)[0] !== 'completed';)
        await p.world.run(p.world.now + 100);
      expect([seed, p.world.failures]).toEqual([seed, []]);
      expect([seed, states(p)]).toEqual([seed, ['completed', 'yielded']]);
      expect([p.primary.running, p.secondary.running]).toEqual([true, false]);
      expect(store.history.at(-1)).toMatchObject({ owner: 'P', replica: undefined, inStep: false });
      const exits = p.world.log.filter(line => line.includes('COLO_EXIT'));
      expect(exits.join('\n')).toMatch(
        /P COLO_EXIT .*the primary goes on without this secondary: disk 'colo-disk0': /,
      );
    }
  },
  60_000,
);

it('a primary whose vCPU has failed does not ask: the secondary goes on', async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const { p, store } = await inStep(seed);
    p.primary.cpuFails('no such instruction');
    await p.world.run(p.world.now + 1500);
    expect([seed, p.world.failures]).toEqual([seed, []]);
    expect([seed, states(p)]).toEqual([seed, ['yielded', 'completed']]);
    expect(store.history.at(-1)).toMatchObject({ owner: 'S' });
  }
}, 60_000);

it('while the arbiter is away both keep what they have; when it answers one goes on', async () => {
  const { p, store } = await inStep(7);
  for (const name of ['P', 'S']) store.away(name, true);
  p.network.cut(ports.migration);
  await p.world.run(p.world.now + 1500);
  expect(states(p)).toEqual(['lost', 'lost']);
  expect(p.secondary.running).toBe(false);
  expect(p.world.log.filter(line => line.includes('is away')).length).toBe(2);
  store.away('S', false);
  await p.world.run(p.world.now + 1000);
  expect(states(p)).toEqual(['lost', 'completed']);
  store.away('P', false);
  await p.world.run(p.world.now + 1000);
  expect(states(p)).toEqual(['yielded', 'completed']);
  expect(p.world.failures).toEqual([]);
});

it('a replica that the record does not call in step does not take over', async () => {
  const { p, store } = await inStep(8);
  const last = store.history.at(-1)!;
  store.history.push({ ...last, term: last.term + 1, replica: undefined, inStep: false });
  p.primary.node.crash(true);
  await p.world.run(p.world.now + 1500);
  expect([p.secondary.colo.info().state, p.secondary.running]).toEqual(['yielded', false]);
});

it('an operator decides while the arbiter is away, and it hears of that', async () => {
  const { p, store } = await inStep(9);
  store.away('S', true);
  p.primary.node.crash(true);
  await p.world.run(p.world.now + 600);
  expect(p.secondary.colo.info().state).toBe('lost');
  await p.secondary.lostHeartbeat();
  await p.world.run(p.world.now + 600);
  expect([p.secondary.colo.info().state, store.history.at(-1)!.owner]).toEqual(['completed', 'P']);
  store.away('S', false);
  await p.world.run(p.world.now + 600);
  expect(store.history.at(-1)!.owner).toBe('S');
  expect(p.world.failures).toEqual([]);
});

it('the record of another VM: nothing is taken over, and it is said', async () => {
  const { p, store } = await inStep(10);
  const last = store.history.at(-1)!;
  const vm = last.vm.replace(/^./, c => (c === '0' ? '1' : '0'));
  store.history.push({ ...last, vm, term: last.term + 1 });
  p.network.cut(ports.migration);
  await p.world.run(p.world.now + 1500);
  expect([states(p), p.secondary.running]).toEqual([['lost', 'lost'], false]);
  const told = p.world.log.filter(line => line.includes('holds the record of another VM'));
  expect(told.length).toBe(2);
  expect(store.history.at(-1)!.vm).toBe(vm);
  expect(p.world.failures).toEqual([]);
});

it('a replica that reads what is over does not take over from an owner that goes on', async () => {
  const { p, store } = await inStep(11);
  store.stopsReading('S', true);
  store.away('S', true);
  p.network.cut(ports.migration);
  await p.world.run(p.world.now + 1000);
  expect(states(p)).toEqual(['completed', 'lost']);
  store.away('S', false);
  await p.world.run(p.world.now + 1000);
  // By what it reads it may, and its change is refused.
  expect([states(p), p.secondary.running]).toEqual([['completed', 'lost'], false]);
  store.stopsReading('S', false);
  await p.world.run(p.world.now + 500);
  expect(states(p)).toEqual(['completed', 'yielded']);
  expect(p.world.failures).toEqual([]);
});

it.each([40, -40])(
  'wall clocks %i years apart, then a step back: one side goes on',
  async years => {
    const { p } = await inStep(12);
    p.secondary.node.clock.wall.jump(years * 365 * 24 * 3600_000);
    await p.world.run(p.world.now + 300);
    expect(states(p)).toEqual(['protected', 'protected']);
    p.primary.node.clock.wall.jump(-years * 365 * 24 * 3600_000);
    await p.world.run(p.world.now + 300);
    expect(states(p)).toEqual(['protected', 'protected']);
    p.network.cut(ports.migration);
    await p.world.run(p.world.now + 2500);
    expect(states(p).sort()).toEqual(['completed', 'yielded']);
    expect(p.world.failures).toEqual([]);
  },
);

it('a disk is in the way of the takeover: it is tried until the disk is well', async () => {
  const { p } = await inStep(13);
  const { storage } = p.secondary;
  const fault = (operation: string, path: string) =>
    operation !== 'pread' && path === '/s0.img' ? ('EIO' as const) : undefined;
  p.onStepOf = step => {
    if (step === 'takeover-exports-dropped' && storage.isCalm)
      storage.faults = { latencyMs: [0.02, 0.3], fault };
  };
  while (p.secondary.block.secondaryDisks()[0].arrived() === 0)
    await p.world.run(p.world.now + 0.2);
  p.primary.node.crash(true);
  await p.world.run(p.world.now + 800);
  expect([p.secondary.colo.info().state, p.secondary.running]).toEqual(['unfinished', false]);
  p.onStepOf = () => undefined;
  storage.calm();
  await p.world.run(p.world.now + 1000);
  expect([p.secondary.colo.info().state, p.secondary.running]).toEqual(['completed', true]);
  expect(p.world.failures).toEqual([]);
});

it('a side with a record of its own notes once that it is in step, whatever epochs come', async () => {
  const { p, stores } = await inStepByAgents(14);
  expect(p.primary.colo.info().statistics!.done).toBeGreaterThan(5);
  const noted = { owner: 'P', replica: 'S', inStep: true };
  expect(stores.get('S')!.history).toMatchObject([noted]);
  expect(stores.get('P')!.history.at(-1)).toMatchObject(noted);
  p.primary.node.crash(true);
  await p.world.run(p.world.now + 1500);
  expect([p.secondary.colo.info().state, p.secondary.running]).toEqual(['completed', true]);
  expect(p.world.failures).toEqual([]);
});
