/**
 * Goal: disk replication keeps its promises when a process dies under load. Method: two real processes, kill -9 of one, the survivor's image
 * compared with the load's history. (`npm run chaos:disks` does it many times.)
 */
import { runWithKill } from '../../support/replication-kill.js';

test.each([
  ['primary', 300],
  ['secondary', 150],
] as const)('kill -9 of the %s under load: the survivor holds what it must', async (victim, afterMs) => {
  const { violations, epochs, writes } = await runWithKill({ victim, afterMs });
  expect(violations).toEqual([]);
  expect(epochs).toBeGreaterThan(0);
  expect(writes).toBeGreaterThan(0);
}, 60_000);
