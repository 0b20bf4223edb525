/**
 * `npm run bench:start [-- --json] [--runs 20]`: how long `colo list` takes, and how long a VM from
 * exec to the greeting of its QMP monitor, against a Node that does nothing. All take turns; a
 * ratio is the median of those of the rounds, for a busy moment slows all of a round. Exit code 1
 * above a bound.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { json, runs } = parseArgs({
  options: { json: { type: 'boolean', default: false }, runs: { type: 'string', default: '20' } },
}).values;
const dir = mkdtempSync(join(tmpdir(), 'colo-start-'));
const colo = fileURLToPath(new URL('../../bin/run.js', import.meta.url));
const vm = ['-m', '16', '-accel', 'soft', '-qmp', 'stdio'];

/** wantedMs: on a machine where a Node that does nothing takes 40. */
const contestants = [
  { name: 'a bare Node', argv: ['-e', '0'] },
  { name: 'colo list', argv: [colo, 'list'], wantedMs: 90, bound: 2.2 },
  {
    name: 'colo primary, to the greeting',
    argv: [colo, 'primary', '-S', ...vm],
    greets: true,
    wantedMs: 100,
    bound: 2.8,
  },
  {
    name: 'colo secondary, to the greeting',
    argv: [colo, 'secondary', '-incoming', 'tcp:127.0.0.1:0', ...vm],
    greets: true,
    wantedMs: 100,
    bound: 2.8,
  },
] as const;
type Contestant = (typeof contestants)[number];

/** From exec to the first output of a VM, or to the end of anything else. */
function wallMs(contestant: Contestant): Promise<number> {
  const from = performance.now();
  const child = spawn(process.execPath, contestant.argv, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, XDG_RUNTIME_DIR: dir },
  });
  let [errors, greetedMs] = ['', 0];
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes.toString()));
  child.stdout.once('data', () => {
    if (!('greets' in contestant)) return;
    greetedMs = performance.now() - from;
    child.kill('SIGKILL');
  });
  child.stdout.resume();
  return new Promise((resolve, reject) =>
    child.once('close', code => {
      if (greetedMs > 0) resolve(greetedMs);
      else if (code === 0 && !('greets' in contestant)) resolve(performance.now() - from);
      else reject(new Error(`${contestant.argv.join(' ')}: exit code ${code}\n${errors}`));
    }),
  );
}

const median = (values: number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

async function oneRound(): Promise<number[]> {
  const took: number[] = [];
  for (const contestant of contestants) took.push(await wallMs(contestant));
  return took;
}

try {
  await oneRound();
  const rounds: number[][] = [];
  for (let n = 0; n < Number(runs); n++) rounds.push(await oneRound());
  const results = contestants.map((contestant, n) => ({
    name: contestant.name,
    ms: median(rounds.map(round => round[n])),
    ratio: median(rounds.map(round => round[n] / round[0])),
    ...('bound' in contestant && { wantedMs: contestant.wantedMs, bound: contestant.bound }),
  }));
  const machine = {
    cpu: cpus()[0].model,
    cores: cpus().length,
    load: loadavg()[0],
    node: process.version,
  };
  if (json) console.log(JSON.stringify({ results, runs: rounds.length, machine }));
  else {
    for (const { name, ms, ratio, wantedMs, bound } of results) {
      const limits = bound === undefined ? '' : ` (bound ${bound}; wanted: ${wantedMs} ms)`;
      console.log(`${name}: ${ms.toFixed(0)} ms, ratio ${ratio.toFixed(2)}${limits}`);
    }
    console.log(
      `medians of ${rounds.length} rounds; ${machine.cores} x ${machine.cpu}, load ` +
        `${machine.load.toFixed(1)}, Node ${machine.node}`,
    );
  }
  process.exitCode = results.every(({ ratio, bound }) => ratio <= (bound ?? Infinity)) ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
