/**
 * `npm run chaos:disks -- --runs N [--seed S] [--json]`: a replicated disk in two processes, a
 * load, and kill -9 of one side, or of both, at a random time. The survivor's image must be, to the
 * byte, what was covered by the last checkpoint, or everything that was acknowledged; with overlays
 * in qcow2 the images of a dead secondary must give its last checkpoint.
 */
import { parseArgs } from 'node:util';
import { Random } from '../support/random.js';
import { type KillPlan, runWithKill } from '../support/replication-kill.js';

const { values: flags } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
  },
});
const kinds = [
  { victim: 'primary' },
  { victim: 'secondary' },
  { victim: 'primary', overlays: 'qcow2' },
  { victim: 'secondary', overlays: 'qcow2' },
  { victim: 'both', overlays: 'qcow2' },
] as const;
const random = new Random(Number(flags.seed));
let bad = 0;
for (let n = 0; n < Number(flags.runs); n++) {
  const plan: KillPlan = {
    ...kinds[n % kinds.length],
    afterMs: random.below(1500),
    mergeMs: random.below(20),
  };
  const result = await runWithKill(plan).catch((error: Error) => ({
    violations: [error.message],
    epochs: 0,
    writes: 0,
  }));
  if (result.violations.length > 0) bad++;
  if (flags.json) console.log(JSON.stringify({ plan, ...result }));
  else
    console.log(
      `${String(n + 1).padStart(3)}  ${plan.victim.padEnd(9)} ` +
        `${(plan.overlays ?? 'memory').padEnd(6)} after ${String(plan.afterMs).padStart(4)} ms  ` +
        `${String(result.epochs).padStart(3)} epochs  ${String(result.writes).padStart(6)} ` +
        `writes  ${result.violations.length === 0 ? 'good' : result.violations.join('; ')}`,
    );
}
if (!flags.json)
  console.log(bad === 0 ? `all ${flags.runs} runs good` : `${bad} of ${flags.runs} runs bad`);
process.exitCode = bad === 0 ? 0 : 1;
