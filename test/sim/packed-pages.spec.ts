/**
 * Goal: changes count from what the secondary holds: not from an epoch that was given up, and not
 * from anything of another secondary. Method: the simulated pair, whose guest changes the same
 * pages all the time; the oracle compares RAM at each commit.
 */
import type { Pair } from './pair.js';
import { protectedPair } from './in-step.js';

const hits = (p: Pair) => p.primary.colo.info().statistics!.percentile('cacheHits', 1) ?? 0;

it('after an epoch that was given up nothing counts from it', async () => {
  const p = await protectedPair({});
  const { storage } = p.secondary;
  let aborted = 0;
  p.onStepOf = step => {
    if (step !== 'primary-aborted') return;
    aborted++;
    storage.calm();
  };
  for (let n = 0; n < 2; n++) {
    storage.faults = { latencyMs: [450, 450], fault: () => undefined };
    await p.world.run(p.world.now + 700);
    storage.calm();
    await p.world.run(p.world.now + 200);
  }
  expect(aborted).toBeGreaterThan(0);
  expect(hits(p)).toBeGreaterThan(0);
  expect(p.secondary.exits).toEqual([]);
  await p.secondary.lostHeartbeat();
  await p.world.run(p.world.now + 300);
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.running).toBe(true);
}, 120_000);
