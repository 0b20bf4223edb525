// `npm test`: lint and types are separate (`npm run lint`); this runs jest in ESM mode and passes
// its arguments on. Without arguments it runs everything, part by part: one process would keep the
// modules of every test file until its end, and spend its time on collecting garbage. Two parts run
// beside each other: many tests wait for processes and timers.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PARTS = 6;
const LANES = Math.min(2, availableParallelism());
const jest = fileURLToPath(import.meta.resolve('jest/bin/jest'));
const given = process.argv.slice(2);
// The VMs of a part have names of their own: they meet neither a user's nor those of another run.
const runtime = mkdtempSync(join(tmpdir(), 'colo-run-'));
const totals = join(runtime, 'totals');
// On a dumb terminal readline edits nothing, and the tests bring terminals of their own.
if (process.env.TERM === 'dumb') delete process.env.TERM;

let parts = 0;

/** Exit status. */
function run(args) {
  const own = join(runtime, String(++parts));
  mkdirSync(own, { mode: 0o700 });
  const child = spawn(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      jest,
      '--runInBand',
      ...args,
    ],
    { stdio: 'inherit', env: { ...process.env, XDG_RUNTIME_DIR: own, COLO_TOTALS: totals } },
  );
  return new Promise((resolve, reject) =>
    child.on('error', reject).on('exit', status => resolve(status ?? 1)),
  );
}

// The simulation has a process of its own: beside the modules of others it is four times slower.
const SIMULATION = 'test/sim/';
const others = ['--testPathIgnorePatterns', '/node_modules/', SIMULATION];
const runs =
  given.length > 0
    ? [given]
    : [
        [SIMULATION],
        ...Array.from({ length: PARTS }, (_, n) => [`--shard=${n + 1}/${PARTS}`, ...others]),
      ];
let worst = 0;
async function lane() {
  for (let args; (args = runs.shift());) worst = Math.max(worst, await run(args));
}
await Promise.all(Array.from({ length: LANES }, lane));
process.exitCode = worst;

// The plain line that people and machines read.
const sums = { passed: 0, failed: 0, skipped: 0 };
const lines = existsSync(totals) ? readFileSync(totals, 'utf8').trim().split('\n') : [];
for (const line of lines)
  for (const [name, count] of Object.entries(JSON.parse(line))) sums[name] += count;
console.log(`${sums.passed} passed, ${sums.failed} failed, ${sums.skipped} skipped`);
rmSync(runtime, { recursive: true, force: true });
