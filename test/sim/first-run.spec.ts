/**
 * Goal: a pair that was ended in order may be begun from either side, by one of them only, and only
 * as its arbiter says. Method: the simulated pair in step, ended by a power button, and new
 * processes on what its hosts have kept.
 */
import { inStep } from './in-step.js';
import type { Pair } from './pair.js';

const after = (p: Pair, ms: number) => p.world.run(p.world.now + ms);
const expectWell = (p: Pair) => expect(p.world.failures).toEqual([]);

async function endedInOrder(seed: number) {
  const { p, store } = await inStep(seed);
  p.primary.lifecycle.requestShutdown();
  await after(p, 600);
  expect([p.primary.ended, p.secondary.ended]).toEqual([true, true]);
  // It takes its hosts for primary and secondary, and the roles are anyone's now.
  p.history.speaks = () => undefined;
  return { p, store: store! };
}

it('from the side that was the replica: it runs', async () => {
  const { p, store } = await endedInOrder(1);
  const primary = await p.world.play(p.bootAgain(p.secondary, 'primary'));
  await p.world.play(primary.start());
  expect([primary.running, store.history.at(-1)!.owner]).toEqual([true, 'S']);
  expectWell(p);
});

it.each([1, 2, 3])('both are started as the primary (%i): one runs', async seed => {
  const { p, store } = await endedInOrder(seed);
  const [a, b] = [p.primary, p.secondary];
  const sides = [await p.world.play(p.bootAgain(a)), await p.world.play(p.bootAgain(b, 'primary'))];
  const ends = await p.world.play(Promise.allSettled(sides.map(vm => vm.start())));
  const ran = ends.findIndex(({ status }) => status === 'fulfilled');
  expect(sides.map(({ running }) => running)).toEqual([ran === 0, ran === 1]);
  expect(store.history.at(-1)!.owner).toBe(sides[ran].name);
  const reason = expect.objectContaining({
    message: "the guest does not run: by the arbiter 'sim:' it is another host's",
  });
  expect(ends[1 - ran]).toEqual({ status: 'rejected', reason });
  await expect(p.world.play(sides[1 - ran].lifecycle.cont())).rejects.toThrow("another host's");
  expectWell(p);
});

it('the arbiter is away: `cont` says so, and who starts the machine waits for it', async () => {
  const { p, store } = await endedInOrder(4);
  const primary = await p.world.play(p.bootAgain(p.primary));
  store.away('P', true);
  await expect(p.world.play(primary.lifecycle.cont(), 10_000)).rejects.toThrow(
    "the guest does not run: the arbiter 'sim:' has not answered in 5000 ms",
  );
  const started = primary.start();
  await after(p, 20_000);
  expect(primary.running).toBe(false);
  store.away('P', false);
  await p.world.play(started);
  expect(primary.running).toBe(true);
  expectWell(p);
});
