/**
 * `npm run sim -- --seeds A..B [--jobs N]`, or `--commit HASH --count N`: a range that each commit
 * has for itself; or `--planned`: those of planned.ts, which pass every step. Runs the simulated
 * pair on all cores, prints a summary; exit code 1: a rule was broken. `SIM_SEED=n npm test --
 * test/sim/colo-sim.spec.ts` replays one with its log, SIM_PLANNED=n one that is planned.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { plannedScenarios, stepsNotIn } from './planned.js';
import { type Told, Totals } from './totals.js';
import type { Range, Word } from './worker.js';

const rangeSize = 10;
/** Virtual time costs little real time: a run that takes so long goes round in circles. */
const stuckCpuMs = 120_000;
/** On a machine that has other work it may wait for a processor most of the time. */
const stuckMs = 1_800_000;
const lookMs = 10_000;
/** The unit of /proc/PID/stat, proc(5). */
const tickMs = 10;
const progressMs = process.stderr.isTTY ? 500 : 10_000;

function usage(message: string): never {
  console.error(message);
  process.exit(2);
}

function count(word: string | undefined, option: string): number {
  if (word === undefined || !/^[1-9]\d{0,9}$/.test(word))
    usage(`--${option} ${word}: not a number from 1 up`);
  return Number(word);
}

function readOptions(): { range: Range; jobs: number } {
  const text = { type: 'string' } as const;
  const options = {
    seeds: text,
    jobs: text,
    commit: text,
    count: text,
    planned: { type: 'boolean' },
  } as const;
  const { values } = parseArgs({ options });
  const jobs = values.jobs === undefined ? availableParallelism() : count(values.jobs, 'jobs');
  if (values.planned) {
    if (values.seeds !== undefined || values.commit !== undefined)
      usage('--planned: say no seeds beside it');
    return { jobs, range: { from: 1, to: plannedScenarios().length, planned: true } };
  }
  if (values.commit !== undefined) {
    if (!/^[0-9a-f]{7,64}$/.test(values.commit)) usage(`--commit ${values.commit}: not a hash`);
    const from = 1 + parseInt(values.commit.slice(0, 7), 16) * 8;
    return { jobs, range: { from, to: from + count(values.count ?? '500', 'count') - 1 } };
  }
  const [, from, to] = /^(\d+)(?:\.\.(\d+))?$/.exec(values.seeds ?? '1..1000') ?? [];
  if (from === undefined) usage(`--seeds ${values.seeds}: say FROM..TO, or one number`);
  const range = { from: count(from, 'seeds'), to: count(to ?? from, 'seeds') };
  if (range.to < range.from) usage(`--seeds ${values.seeds}: the second is the smaller one`);
  return { jobs, range };
}

/** What its process has computed so far; 0: it is over. */
function cpuMsOf(pid: number): number {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .split(') ')[1]
      .split(' ')
      .slice(11);
    return (Number(user) + Number(system)) * tickMs;
  } catch {
    return 0;
  }
}

class Crew {
  readonly totals = new Totals();
  private next: number;

  constructor(private readonly range: Range) {
    this.next = range.from;
  }

  /** One after the other takes what is left; a worker that is stuck is replaced. */
  async work(): Promise<void> {
    while (this.next <= this.range.to) await this.employ();
  }

  private employ(): Promise<void> {
    const worker = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    let seed = this.next;
    let since = { ms: performance.now(), cpuMs: 0 };
    return new Promise(resolve => {
      let given = false;
      const lost = (violation: string) => {
        given = true;
        clearInterval(watch);
        this.totals.add({
          seed,
          violation,
          survivor: 'none',
          takeovers: 0,
          checkpoints: 0,
          hit: [],
          steps: [],
        });
        worker.kill('SIGKILL');
      };
      const now = () => ({ ms: performance.now(), cpuMs: cpuMsOf(worker.pid!) });
      const watch = setInterval(() => {
        const { ms, cpuMs } = now();
        if (ms - since.ms > stuckMs || cpuMs - since.cpuMs > stuckCpuMs) lost('it does not end');
      }, lookMs);
      worker.on('message', (word: Word) => {
        since = now();
        if (word.type === 'told') this.told(word.told);
        if (word.type === 'done') return this.give(worker);
        if (word.type === 'run') ({ seed } = word);
      });
      worker.on('exit', (code, signal) => {
        clearInterval(watch);
        if (!given && code !== 0) lost(`the process ended by ${signal ?? `code ${code}`}`);
        resolve();
      });
      this.give(worker);
    });
  }

  private told(told: Told): void {
    this.totals.add(told);
    if (told.violation !== undefined) console.error(`${kind} ${told.seed}: ${told.violation}`);
  }

  private give(worker: ChildProcess): void {
    const from = this.next;
    if (from > this.range.to) return void worker.disconnect();
    this.next = Math.min(from + rangeSize, this.range.to + 1);
    worker.send({ ...this.range, from, to: this.next - 1 } satisfies Range);
  }
}

const { range, jobs } = readOptions();
const kind = range.planned ? 'planned' : 'seed';
const crew = new Crew(range);
const startedMs = performance.now();
const all = range.to - range.from + 1;
console.log(`${kind} ${range.from}..${range.to}, ${jobs} at a time`);
const ticker = setInterval(() => {
  const { runs, violations } = crew.totals;
  const line = `${runs} of ${all}, ${violations.length} violations`;
  process.stderr.write(process.stderr.isTTY ? `\r${line} ` : `${line}\n`);
}, progressMs);
await Promise.all(
  Array.from({ length: Math.min(jobs, Math.ceil(all / rangeSize)) }, () => crew.work()),
);
clearInterval(ticker);
if (process.stderr.isTTY) process.stderr.write('\n');
const seconds = (performance.now() - startedMs) / 1000;
console.log(crew.totals.table(seconds, jobs).join('\n'));
const missed = range.planned ? stepsNotIn(crew.totals.steps) : [];
if (missed.length > 0) console.error(`no scenario passes: ${missed.join(', ')}`);
process.exitCode = crew.totals.violations.length + missed.length > 0 ? 1 : 0;
