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
const count = Number(process.env.SIM_SEEDS ?? 240);
const perTest = 30;

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

  it('every step was passed somewhere', () => {
    expect(coloSteps.filter(step => !seen.has(step))).toEqual([]);
  });
}
