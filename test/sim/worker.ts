/** A process of main.ts: takes ranges of seeds, or of planned scenarios, tells of each run. */
import { runScenario } from './run.js';
import { plannedScenarios } from './planned.js';
import { scenarioOf } from './scenario.js';
import type { Told } from './totals.js';

export interface Range {
  from: number;
  to: number;
  /** Numbers of planned scenarios, from 1, and no seeds. */
  planned?: boolean;
}
/** run: it begins; a worker that says nothing more is stuck in it. done: another range, please. */
export type Word = { type: 'run'; seed: number } | { type: 'told'; told: Told } | { type: 'done' };

const say = (word: Word) => process.send!(word);

async function run(seed: number, planned: boolean): Promise<Told> {
  try {
    const { failures, steps, ...outcome } = await runScenario(
      planned ? plannedScenarios()[seed - 1] : scenarioOf(seed),
    );
    const { survivor, takeovers, checkpoints, hit } = outcome;
    const told = { survivor, takeovers, checkpoints, hit, steps: [...steps] };
    return { seed, violation: failures[0], ...told };
  } catch (error) {
    const violation = String((error as Error).stack);
    return { seed, violation, survivor: 'none', takeovers: 0, checkpoints: 0, hit: [], steps: [] };
  }
}

process.on('message', ({ from, to, planned = false }: Range) => {
  void (async () => {
    for (let seed = from; seed <= to; seed++) {
      say({ type: 'run', seed });
      say({ type: 'told', told: await run(seed, planned) });
    }
    say({ type: 'done' });
  })();
});
