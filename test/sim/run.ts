/**
 * One scenario from beginning to end. A rejection that nobody handles ends a process of colo: here
 * it fails the run.
 */
import { type Outcome, Pair } from './pair.js';
import type { Scenario } from './misfortunes.js';
import type { World } from '../support/sim/world.js';

let current: World | undefined;
process.on('unhandledRejection', (reason: unknown) => {
  current?.fail(
    `a rejection that nobody handles: ${reason instanceof Error ? reason.stack : String(reason)}`,
  );
});

export async function runScenario(scenario: Scenario): Promise<Outcome> {
  const pair = await Pair.create(scenario);
  current = pair.world;
  try {
    return await pair.run();
  } finally {
    for (const side of [pair.primary, pair.secondary]) side.ram.release();
    current = undefined;
  }
}
