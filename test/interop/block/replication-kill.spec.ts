/**
 * Goal: disk replication keeps its promises when a process dies under load. Method: two real
 * processes, kill -9 of one, the survivor's image compared with the load's history, and with
 * overlays in qcow2 the images that a dead secondary leaves. (`npm run chaos:disks` does it many
 * times.)
 */
import { runWithKill } from '../../support/replication-kill.js';

test.each([
  ['primary', 'memory', 300],
  ['secondary', 'memory', 150],
  ['secondary', 'qcow2', 150],
  ['both', 'qcow2', 150],
] as const)(
  'kill -9 of %s under load, overlays in %s: what is left holds what it must',
  async (victim, overlays, afterMs) => {
    const { violations, epochs, writes } = await runWithKill({
      victim,
      afterMs,
      overlays,
      mergeMs: 3,
    });
    expect(violations).toEqual([]);
    expect(epochs).toBeGreaterThan(0);
    expect(writes).toBeGreaterThan(0);
  },
  60_000,
);
