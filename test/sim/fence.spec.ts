/**
 * Goal: whatever the primary learns late, and however a connection ends, at most one side's output
 * leaves. Method: the simulated pair at the moments where only the lease and the fence decide: the
 * primary sleeps between asking and hearing the answer, or the path dies for one end, while frames
 * wait for room in its tap.
 */
import type { ColoStep } from '../../src/colo/steps.js';
import type { NetError } from '../support/sim/network.js';
import { Pair } from './pair.js';
import { ports } from './command-line.js';

/** Calls fn when that side passes the step for the nth time. */
function atStep(p: Pair, wanted: ColoStep, nth: number, fn: () => void): void {
  let passed = 0;
  p.onStepOf = step => {
    if (step === wanted && ++passed === nth) fn();
  };
}

async function protectedPair(seed: number, bulky = false): Promise<Pair> {
  const p = await Pair.create({ seed, misfortunes: [], bulky });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  await p.primary.migrate();
  return p;
}

const full = (p: Pair, on: boolean) => p.primary.taps.forEach(tap => (tap.full = on));

async function expectOneVoice(p: Pair): Promise<void> {
  await p.world.run(p.world.now + 700);
  expect(p.world.failures).toEqual([]);
  expect(p.secondary.colo.info().state).toBe('completed');
  p.history.oneMachine(p.secondary.step);
  expect(p.world.failures).toEqual([]);
}

it('a proof counts from when it was asked for, not from when the last byte had left', async () => {
  for (let ms = 60; ms <= 95; ms += 5) {
    const p = await protectedPair(ms, true);
    atStep(p, 'primary-sent-vmstate-size', 5, () => {
      p.primary.node.pause(ms);
      full(p, true);
      // The answer is on its way; what the secondary says afterwards does not arrive.
      p.world.after(6, () => p.network.block(400));
      p.world.after(7, () => void p.secondary.lostHeartbeat());
      p.world.after(ms + 50, () => full(p, false));
    });
    await p.world.run(300);
    await expectOneVoice(p);
  }
});

it.each<NetError>(['ETIMEDOUT', 'ECONNRESET'])(
  '%s at the secondary is no proof that the primary is gone',
  async code => {
    for (let lag = 1; lag <= 9; lag += 2) {
      const p = await protectedPair(lag);
      atStep(p, 'primary-got-vmstate-received', 5, () => {
        full(p, true);
        p.network.block(400);
        p.network.breakEnd({ from: 'S', port: ports.migration }, code);
        p.world.after(lag, () => void p.secondary.lostHeartbeat());
        p.world.after(lag + 25, () => full(p, false));
      });
      await p.world.run(300);
      await expectOneVoice(p);
    }
  },
);
