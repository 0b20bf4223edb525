/**
 * Goal: a checkpoint and a takeover are all of it or none. Method: the simulated pair, whose
 * secondary's disks are too slow for an epoch, or fail one by one while they are merged.
 */
import type { ColoStep } from '../../src/colo/steps.js';
import { protectedPair } from './in-step.js';
import { keepTrying } from './verbs.js';

it.each([0, 1, 2])('disk %i of three cannot be merged: no guest runs on the others', async n => {
  const p = await protectedPair({ disks: 3 });
  const { storage } = p.secondary;
  p.onStepOf = (step: ColoStep) => {
    if (step !== 'takeover-exports-dropped') return;
    const fault = (operation: string, path: string) =>
      operation !== 'pread' && path === `/s${n}.img` ? ('EIO' as const) : undefined;
    storage.faults = { latencyMs: [0.02, 0.3], fault };
  };
  // Part of an epoch is there, which the merge undoes.
  while (p.secondary.block.secondaryDisks()[n].arrived() === 0) {
    await p.world.run(p.world.now + 0.2);
  }
  p.primary.node.crash(true);
  await p.secondary.lostHeartbeat();
  await p.world.run(500);
  // The oracle compares every image when the network opens.
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.running).toBe(false);
});

it('an epoch that was given up belongs to the next, with its pages', async () => {
  const p = await protectedPair({});
  const { storage } = p.secondary;
  let aborted = 0;
  p.onStepOf = step => {
    // What the guest would write again, the next epoch would have anyway.
    if (step === 'primary-resumed' && !storage.isCalm) void p.primary.lifecycle.stop();
    if (step !== 'primary-aborted') return;
    aborted++;
    storage.calm();
  };
  for (let n = 0; n < 6; n++) {
    const latencyMs = [450, 450] as const;
    storage.faults = { latencyMs, fault: () => undefined };
    await p.world.run(p.world.now + 700);
    storage.calm();
    await p.world.run(p.world.now + 100);
    keepTrying(p.primary);
    await p.world.run(p.world.now + 100);
  }
  expect(aborted).toBeGreaterThan(2);
  await p.secondary.lostHeartbeat();
  await p.world.run(p.world.now + 300);
  // The oracle compares RAM at each commit, and when the guest runs there.
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.running).toBe(true);
});
