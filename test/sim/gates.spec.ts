/**
 * Goal: a host says nothing in the guest's name while the guest is not there, and calls the pair
 * protected only when it is. Method: the simulated pair, with the moments that chance meets rarely;
 * the oracle listens at each tap.
 */
import type { ColoStep } from '../../src/colo/steps.js';
import { protectedPair } from './in-step.js';
import { Pair } from './pair.js';

it('a secondary that is asked to announce itself is silent', async () => {
  const p = await protectedPair();
  p.secondary.vm.network.announce();
  await p.world.run(p.world.now + 1000);
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.colo.info().state).toBe('protected');
});

it('a primary whose guest has shut down is silent once the secondary takes over', async () => {
  const p = await protectedPair();
  let asked = false;
  p.onStepOf = (step: ColoStep) => {
    if (step !== 'secondary-got-guest-shutdown' || asked) return;
    asked = true;
    void p.secondary.lostHeartbeat();
  };
  p.primary.powersOff();
  await p.world.run(p.world.now + 500);
  expect(p.world.failures).toEqual([]);
});

it('a guest that has shut down never runs again where its last state is', async () => {
  const p = await protectedPair();
  p.onStepOf = (step: ColoStep) => {
    if (step === 'primary-committed' && p.primary.lifecycle.shutdownRequested)
      p.primary.node.crash(false);
  };
  p.primary.powersOff();
  await p.world.run(p.world.now + 3000);
  expect(p.secondary.colo.info().state).toBe('lost');
  await p.world.play(p.secondary.lostHeartbeat());
  await p.world.run(p.world.now + 3000);
  expect(p.secondary.running).toBe(false);
  expect(p.secondary.lifecycle.state).toBe('shutdown');
  expect(p.world.failures).toEqual([]);
});

it('a primary may be lost as soon as it says protected, and no sooner says so', async () => {
  const p = await Pair.create({ seed: 3, misfortunes: [] });
  p.later = () => undefined;
  let saidAt: ColoStep | undefined;
  p.onStepOf = (step: ColoStep) => {
    if (saidAt || p.primary.colo.info().pair !== 'protected') return;
    saidAt = step;
    p.primary.node.crash(false);
  };
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  await p.primary.migrate();
  await p.world.run(3000);
  expect([saidAt, p.secondary.colo.info().pair]).toEqual(['primary-before-release', 'lost']);
  await p.world.play(p.secondary.lostHeartbeat());
  await p.world.run(p.world.now + 3000);
  expect(p.secondary.running).toBe(true);
  expect(p.world.failures).toEqual([]);
});
