/**
 * Goal: a takeover is all of it or none. Method: the simulated pair, whose disks fail one by one
 * while they are merged.
 */
import type { ColoStep } from '../../src/colo/steps.js';
import type { Scenario } from './misfortunes.js';
import { Pair } from './pair.js';
import { ports } from './vm.js';

async function protectedPair(scenario: Partial<Scenario>): Promise<Pair> {
  const p = await Pair.create({ seed: 3, misfortunes: [], ...scenario });
  p.later = () => undefined;
  p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  p.primary.colo.migrate(`tcp:secondary:${ports.migration}`);
  await p.world.run(200);
  return p;
}

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
  while (p.secondary.block.replicated('secondary')[n].arrived() === 0) {
    await p.world.run(p.world.now + 0.2);
  }
  p.primary.node.crash(true);
  p.secondary.colo.lostHeartbeat();
  await p.world.run(500);
  // The oracle compares every image when the network opens.
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.running).toBe(false);
});
