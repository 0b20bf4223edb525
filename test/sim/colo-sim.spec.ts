/**
 * Goal: no misfortune breaks a rule of a checkpoint. Method: seeds build a pair in virtual time,
 * each with its misfortunes (misfortunes.ts) at any message or moment; the oracle in history.ts and
 * pair.ts watches RAM, disks, packets, who lives, and that every wait ends. Here are a few of them;
 * `npm run sim` runs the rest. SIM_SEED=n or SIM_PLANNED=n replays one and prints its log.
 */
import { jest } from '@jest/globals';
import type { Scenario } from './misfortunes.js';
import { Pair } from './pair.js';
import { plannedScenarios } from './planned.js';
import { scenarioOf } from './scenario.js';

const { SIM_SEED, SIM_PLANNED } = process.env;
const SEEDS = 30;
const PER_TEST = 10;
jest.setTimeout(600_000);

const run = async (scenario: Scenario) => (await Pair.create(scenario)).run();

async function expectGood(scenario: Scenario): Promise<void> {
  const { failures, log } = await run(scenario);
  if (failures.length === 0) return;
  const head = `SIM_SEED=${scenario.seed}: ${failures.join('; ')}`;
  throw new Error([head, JSON.stringify(scenario), ...log.slice(-70)].join('\n'));
}

function replay(name: string, scenario: Scenario): void {
  it(name, async () => {
    const { failures, log, survivor } = await run(scenario);
    console.log([JSON.stringify(scenario), ...log, `survivor ${survivor}`].join('\n'));
    expect(failures).toEqual([]);
  });
}

if (SIM_SEED !== undefined) replay(`seed ${SIM_SEED}`, scenarioOf(Number(SIM_SEED)));
else if (SIM_PLANNED !== undefined)
  replay(`planned ${SIM_PLANNED}`, plannedScenarios()[Number(SIM_PLANNED) - 1]);
else {
  for (let first = 1; first <= SEEDS; first += PER_TEST) {
    it(`seeds ${first}..${first + PER_TEST - 1}`, async () => {
      for (let seed = first; seed < first + PER_TEST; seed++) await expectGood(scenarioOf(seed));
    });
  }

  it('the same seed gives the same run', async () => {
    const runs = [await run(scenarioOf(7)), await run(scenarioOf(7))];
    expect(runs[0].log).toEqual(runs[1].log);
  });
}
