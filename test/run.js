// `npm test`: lint and types are separate (`npm run lint`); this runs jest in ESM mode and passes
// its arguments on. Without arguments it runs everything, part by part: one process would keep the
// modules of every test file until its end, and spend its time on collecting garbage.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PARTS = 6;
const jest = fileURLToPath(import.meta.resolve('jest/bin/jest'));
const given = process.argv.slice(2);
// The VMs of a run have names of their own: they meet neither a user's nor those of another run.
const runtime = mkdtempSync(join(tmpdir(), 'colo-run-'));
const totals = join(runtime, 'totals');
// On a dumb terminal readline edits nothing, and the tests bring terminals of their own.
if (process.env.TERM === 'dumb') delete process.env.TERM;

/** Specs that start bin/run.js run what was built. */
function noteStale() {
  const { mtimeMs = 0 } = statSync('dist/bundle', { throwIfNoEntry: false }) ?? {};
  const newer = readdirSync('src', { recursive: true }).find(
    name => name.endsWith('.ts') && statSync(join('src', name)).mtimeMs > mtimeMs,
  );
  if (newer) console.error(`src/${newer} is newer than dist/bundle: npm run build`);
}

/** Exit status. */
function run(args) {
  const { status } = spawnSync(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      jest,
      '--runInBand',
      ...args,
    ],
    { stdio: 'inherit', env: { ...process.env, XDG_RUNTIME_DIR: runtime, COLO_TOTALS: totals } },
  );
  return status ?? 1;
}

noteStale();
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
process.exitCode = Math.max(...runs.map(run));

// The plain line that people and machines read.
const sums = { passed: 0, failed: 0, skipped: 0 };
const lines = existsSync(totals) ? readFileSync(totals, 'utf8').trim().split('\n') : [];
for (const line of lines)
  for (const [name, count] of Object.entries(JSON.parse(line))) sums[name] += count;
console.log(`${sums.passed} passed, ${sums.failed} failed, ${sums.skipped} skipped`);
rmSync(runtime, { recursive: true, force: true });
