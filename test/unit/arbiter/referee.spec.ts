/**
 * What a side asks its arbiter, until it has an answer. Method: both sides over a simulated arbiter
 * that is slow, away, and loses answers, for many seeds; the contract of all arbiters for it too.
 */
import { Referee, type RefereeVerdict } from '../../../src/arbiter/referee.js';
import { arbiterContract, arbiterRecord } from '../../support/arbiter-contract.js';
import { SimArbiterStore } from '../../support/sim/arbiter.js';
import { SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';

const { vm } = arbiterRecord();
const branches = { first: '1'.repeat(32), claimed: '2'.repeat(32), taken: '3'.repeat(32) };

function pair(seed: number) {
  const world = new World(seed);
  const store = new SimArbiterStore(world);
  const lines: string[] = [];
  const side = (node: string) =>
    new Referee({
      arbiter: store.open(new SimNode(node, world), 20),
      clock: new SimNode(node, world).clock,
      node,
      vm,
      retryMs: 10,
      report: line => lines.push(`${node}: ${line}`),
    });
  return { world, store, lines, alpha: side('alpha'), beta: side('beta') };
}

async function inStep(seed: number) {
  const made = pair(seed);
  const { world, alpha } = made;
  expect(await world.play(alpha.claim(branches.first))).toBe('won');
  expect(await world.play(alpha.confirm('beta', branches.first))).toBe('won');
  return made;
}

describe('the contract, by the simulated arbiter', () => {
  arbiterContract(() => {
    const world = new World(1);
    const store = new SimArbiterStore(world);
    // Its world moves by itself.
    store.carry = (_from, _to, fn) => fn();
    let hosts = 0;
    return Promise.resolve(() =>
      Promise.resolve(store.open(new SimNode(`host${hosts++}`, world), 20)),
    );
  });
});

test('300 seeds: of two that lost each other one goes on, whatever the arbiter does', async () => {
  const winners = { alpha: 0, beta: 0 };
  for (let seed = 1; seed <= 300; seed++) {
    const { world, store, alpha, beta } = await inStep(seed);
    store.loseAnswers = 0.3;
    store.delayMs = [0.2, 40];
    for (const node of ['alpha', 'beta']) {
      store.away(node, world.random.chance(0.5));
      world.after(world.random.between(0, 300), () => store.away(node, false));
    }
    const both = Promise.all([
      alpha.claim(branches.claimed),
      beta.bid(branches.first, branches.taken),
    ]);
    const [claimed, taken] = await world.play(both, 60_000);
    expect([seed, [claimed, taken].sort()]).toEqual([seed, ['lost', 'won']]);
    const { owner, inStep: step, replica } = store.history.at(-1)!;
    expect([owner, step, replica]).toEqual([
      claimed === 'won' ? 'alpha' : 'beta',
      false,
      undefined,
    ]);
    winners[owner as 'alpha' | 'beta']++;
  }
  expect(Math.min(winners.alpha, winners.beta)).toBeGreaterThan(50);
});

test('a replica that is not in step, or of an older branch, has lost', async () => {
  const { world, alpha, beta } = await inStep(1);
  expect(await world.play(beta.bid(branches.claimed, branches.taken))).toBe('lost');
  expect(await world.play(alpha.claim(branches.claimed))).toBe('won');
  expect(await world.play(beta.bid(branches.first, branches.taken))).toBe('lost');
  expect(await world.play(alpha.confirm('beta', branches.claimed))).toBe('won');
  expect(await world.play(beta.bid(branches.first, branches.taken))).toBe('lost');
  expect(await world.play(beta.bid(branches.claimed, branches.taken))).toBe('won');
  expect(await world.play(alpha.claim('4'.repeat(32)))).toBe('lost');
  expect(await world.play(alpha.confirm('beta', branches.claimed))).toBe('lost');
});

test('the owner that follows another side, whose state it holds, goes on when that is lost', async () => {
  const { world, alpha, beta, store } = await inStep(1);
  expect(await world.play(beta.bid(branches.first, branches.taken))).toBe('won');
  // It was down before it knew, and came back as the replica of whoever was there.
  expect(await world.play(alpha.confirm('beta', branches.first))).toBe('lost');
  expect(await world.play(beta.bid(branches.first, branches.claimed))).toBe('won');
  expect(store.history.at(-1)).toMatchObject({ owner: 'beta', branch: branches.claimed });
});

test('a claim is a new term even where the record reads as it should', async () => {
  const { world, store, alpha } = pair(1);
  await world.play(alpha.claim(branches.first));
  await world.play(alpha.claim(branches.first));
  expect(store.history.map(({ term }) => term)).toEqual([1, 2]);
});

test('without a record a replica has lost', async () => {
  const { world, beta } = pair(1);
  expect(await world.play(beta.bid(branches.first, branches.taken))).toBe('lost');
});

test('while it is away the question stands, is told of once, and may be given up', async () => {
  const { world, store, lines, alpha } = await inStep(1);
  store.away('alpha', true);
  let wanted = true;
  let verdict: RefereeVerdict | undefined;
  void alpha.claim(branches.claimed, () => wanted).then(found => (verdict = found));
  await world.run(world.now + 500);
  expect([verdict, lines]).toEqual([
    undefined,
    ["alpha: the arbiter 'sim:' is away: nothing in 20 ms; it is asked again"],
  ]);
  wanted = false;
  await world.run(world.now + 100);
  expect([verdict, store.history.length]).toEqual(['given-up', 2]);
  store.away('alpha', false);
  expect(await world.play(alpha.claim(branches.claimed))).toBe('won');
  expect(lines.at(-1)).toBe("alpha: the arbiter 'sim:' answers");
});

test('an operator’s order stands above the record', async () => {
  const { world, store, beta } = await inStep(1);
  expect(await world.play(beta.order(branches.taken))).toBe('won');
  expect(store.history.at(-1)).toEqual(
    arbiterRecord({ term: 3, owner: 'beta', branch: branches.taken }),
  );
});

test('two hosts that claim one side are refused', async () => {
  const { world, store, alpha } = await inStep(1);
  await expect(world.play(alpha.confirm('alpha', branches.first))).rejects.toThrow(
    "both sides of the pair call themselves 'alpha'",
  );
  expect(store.history.length).toBe(2);
});

test('the record of another VM is taken over by nobody', async () => {
  const { world, store, alpha } = await inStep(1);
  store.history.push({ ...store.history[1], vm: vm.replace('6', '7'), term: 3 });
  await expect(world.play(alpha.claim(branches.claimed))).rejects.toThrow(/of another VM/);
});
