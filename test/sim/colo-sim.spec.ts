/**
 * Goal: no misfortune breaks a rule of a checkpoint. Method: seeds build a pair in virtual time, each with one misfortune (crash, pause,
 * silence, cut connection, failover requested by either or both, shutdown) at any message or moment; the oracle in history.ts and pair.ts
 * watches RAM, disk, packets, who lives, and that every wait ends. SIM_SEED=n (or --seed=n) replays one and prints its log.
 */
import { scenarioOf, stepsOf } from './scenario.js';
import { Pair, type Scenario } from './pair.js';
import type { ColoStep } from '../../src/colo/steps.js';
import { coloSteps } from '../../src/colo/steps.js';

const argument = process.argv.find(a => a.startsWith('--seed='))?.slice(7) ?? process.env.SIM_SEED;
const only = argument === undefined ? undefined : Number(argument);
const count = Number(process.env.SIM_SEEDS ?? 210);
const perTest = 30;

/** Where bits are turned over: enough places to hit every kind of message. */
const corruptions = 60;

const seen = new Set<ColoStep>();

async function expectGood(scenario: Scenario): Promise<void> {
  const { failures, log, steps } = await new Pair(scenario).run();
  for (const step of steps) seen.add(step);
  if (failures.length === 0) return;
  throw new Error(`SIM_SEED=${scenario.seed}: ${failures.join('; ')}\n${JSON.stringify(scenario)}\n${log.slice(-70).join('\n')}`);
}

if (only !== undefined) {
  it(`seed ${only}`, async () => {
    const scenario = scenarioOf(only);
    const { failures, log, survivor } = await new Pair(scenario).run();
    console.log([JSON.stringify(scenario), ...log, `survivor ${survivor}`].join('\n'));
    expect(failures).toEqual([]);
  });
} else {
  for (let first = 1; first <= count; first += perTest) {
    it(`seeds ${first}..${Math.min(count, first + perTest - 1)}`, async () => {
      for (let seed = first; seed < first + perTest && seed <= count; seed++) await expectGood(scenarioOf(seed));
    });
  }

  it('the same seed gives the same run', async () => {
    const runs = [await new Pair(scenarioOf(7)).run(), await new Pair(scenarioOf(7)).run()];
    expect(runs[0].log).toEqual(runs[1].log);
  });

  for (const side of ['P', 'S'] as const) {
    for (const nth of [1, 3]) {
      it(`a crash at every step of ${side}, at its passing number ${nth}`, async () => {
        for (const step of stepsOf(side)) await expectGood({ seed: 1000 * nth + coloSteps.indexOf(step), misfortune: { kind: 'crash-at-step', side, step, nth, clean: nth === 3 }, endMs: 700 });
      });
    }
  }

  it('failover asked for at every step of the secondary', async () => {
    for (const step of coloSteps.filter(s => s.startsWith('secondary'))) await expectGood({ seed: 5000 + coloSteps.indexOf(step), misfortune: { kind: 'failover-at-step', side: 'S', step, nth: 3 }, endMs: 600 });
  });

  it('the primary is paused at every step, and wakes before, during or after the failover', async () => {
    for (const step of stepsOf('P').filter(s => /offered|released?$|vmstate|cut|resumed|committed|half|request$|reply$/.test(s))) {
      for (const [ms, lag] of [[69, 3], [71, 4], [76, 6], [130, 30], [260, 80]]) {
        await expectGood({ seed: 7000 + coloSteps.indexOf(step) + ms, misfortune: { kind: 'pause-failover', side: 'P', step, nth: 4, ms, lag }, noise: ms === 71 || ms === 130, endMs: 400 });
      }
    }
  });

  it('a byte of the stream is wrong: the pair ends in order, and nothing wrong is loaded', async () => {
    for (let i = 0; i < corruptions; i++) {
      const from = i % 3 === 2 ? 'S' : 'P';
      await expectGood({ seed: 8000 + i, misfortune: { kind: 'corrupt', from, byte: Math.floor(from === 'P' ? 130 + i ** 3 * 1.5 : 20 + i * 9) }, endMs: 500 });
    }
  });

  it('planned: shutdown, failover on either side, on both', async () => {
    await expectGood({ seed: 1, misfortune: { kind: 'shutdown', at: 200 } });
    for (const side of ['P', 'S'] as const) await expectGood({ seed: 2, misfortune: { kind: 'failover', side, at: 205 } });
    for (let lag = -6; lag <= 6; lag += 0.5) await expectGood({ seed: 3 + lag * 2, misfortune: { kind: 'failover-both', at: 210 + lag, lag }, endMs: 500 });
  });

  it('every step was passed somewhere', () => {
    expect(coloSteps.filter(step => !seen.has(step))).toEqual([]);
  });
}
