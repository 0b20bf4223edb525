/** A process of main.ts: takes ranges of seeds, tells of each run. */
import { runScenario } from './run.js';
import { scenarioOf } from './scenario.js';
import type { Told } from './totals.js';

export interface Range {
  from: number;
  to: number;
}
/** run: it begins; a worker that says nothing more is stuck in it. done: another range, please. */
export type Word = { type: 'run'; seed: number } | { type: 'told'; told: Told } | { type: 'done' };

const say = (word: Word) => process.send!(word);

async function run(seed: number): Promise<Told> {
  try {
    const { failures, survivor, takeovers, checkpoints, hit } = await runScenario(scenarioOf(seed));
    return { seed, violation: failures[0], survivor, takeovers, checkpoints, hit };
  } catch (error) {
    const violation = String((error as Error).stack);
    return { seed, violation, survivor: 'none', takeovers: 0, checkpoints: 0, hit: [] };
  }
}

process.on('message', ({ from, to }: Range) => {
  void (async () => {
    for (let seed = from; seed <= to; seed++) {
      say({ type: 'run', seed });
      say({ type: 'told', told: await run(seed) });
    }
    say({ type: 'done' });
  })();
});
