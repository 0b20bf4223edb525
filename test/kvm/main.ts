/**
 * `npm run test:kvm [-- --json] [--long] [--seed S] [--only NAME] [--limit SECONDS] [--verbose]`:
 * the KVM backend in two tiers. Tier 1: test/kvm/*.spec.ts on this host's /dev/kvm. Tier 2: the
 * same, a Linux boot, the demo and chaos runs, on KVM and between KVM and the software CPU: here if
 * this host's KVM is full, else inside a throw-away Linux (l1.ts). --long: 20 chaos runs of each
 * kind. Not covered: Intel's VMX, AVX in real kernels, two vCPUs truly at once, performance.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { detectKvm } from '../../src/accel/choose.js';
import { prepareGuest } from '../guest/build.js';
import { progress } from '../guest/kernel.js';
import { bundle, type Programs } from './bundle.js';
import { L1, missingPackages, prepareL1 } from './l1.js';

interface Skip {
  name: string;
  reason: string;
}
interface Tier {
  passed: number;
  failed: number;
  skipped: Skip[];
}
interface JestReport {
  testResults: {
    message: string;
    assertionResults: { title: string; status: string; failureMessages: string[] }[];
  }[];
}
interface Job {
  name: string;
  kind: 'tests' | 'boot' | 'failover' | 'chaos';
  script: string;
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const started = performance.now();
const options = {
  seed: { type: 'string' },
  json: { type: 'boolean', default: false },
  long: { type: 'boolean', default: false },
  only: { type: 'string' },
  /** Seconds that a job may take: several times what it needs on a quiet machine. */
  limit: { type: 'string', default: '600' },
  verbose: { type: 'boolean', default: false },
} as const;

function parse() {
  try {
    const { values } = parseArgs({ options });
    for (const name of ['seed', 'limit'] as const)
      if (values[name] !== undefined && !(Number(values[name]) > 0))
        throw new Error(`--${name} ${values[name]}: a number above 0 is needed`);
    return values;
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

const args = parse();
const seed = args.seed === undefined ? Math.floor(Math.random() * 2 ** 30) : Number(args.seed);
const jobLimitMs = Number(args.limit) * 1000;

function tell(what: string): void {
  const say = args.json ? console.error : console.log;
  say(`${((performance.now() - started) / 1000).toFixed(1).padStart(7)} s  ${what}`);
}

function tierOf(report: JestReport): Tier {
  const tier: Tier = { passed: 0, failed: 0, skipped: [] };
  for (const file of report.testResults) {
    if (file.assertionResults.length === 0) tier.failed++;
    for (const { title, status, failureMessages } of file.assertionResults) {
      const skip = /^(.*) \[skipped: (.*)\]$/.exec(title);
      if (status === 'passed') tier.passed++;
      else if (skip) tier.skipped.push({ name: skip[1], reason: skip[2] });
      else {
        tier.failed++;
        console.error(`failed: ${title}: ${failureMessages[0]?.slice(0, 400)}`);
      }
    }
  }
  for (const { name, reason } of tier.skipped) tell(`  skipped: ${name}: ${reason}`);
  return tier;
}

function tier1(): Tier {
  const dir = mkdtempSync(join(tmpdir(), 'colo-kvm-'));
  const out = join(dir, 'report.json');
  const program = [
    join(root, 'test/run.js'),
    'test/kvm',
    '--silent',
    '--json',
    `--outputFile=${out}`,
  ];
  try {
    const { stderr } = spawnSync(process.execPath, program, {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      timeout: jobLimitMs,
    });
    if (existsSync(out)) return tierOf(JSON.parse(readFileSync(out, 'utf8')) as JestReport);
    console.error(
      `tier 1: no result within ${jobLimitMs / 1000} s; its last words:\n${stderr.slice(-1000)}`,
    );
    return { passed: 0, failed: 1, skipped: [] };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Primary to secondary: what runs the guest on each. */
const kinds = [
  ['kvm', 'soft'],
  ['soft', 'kvm'],
  ['kvm', 'kvm'],
] as const;
/** An emulated host is so much slower. */
const patience = 5;

/** In the order of their length, longest first; two run at a time. */
function jobs(programs: Programs): Job[] {
  const give = (command: string) =>
    `cd ${root}; export COLO_PROGRAM=${programs.colo}\necho "@@result $(${command})"\n`;
  const failover = (name: string, ...how: string[]): Job => ({
    name: `failover ${name}`,
    kind: 'failover',
    script: give(
      `node ${programs.demo} --json ${how.join(' ')} --memory 128 --answers 60 --patience ` +
        `${patience}`,
    ),
  });
  // KVM to KVM is shown with 2 vCPUs; the one of 1 is in chaos, and in --long.
  const failovers = kinds
    .filter(([from, to]) => args.long || from !== to)
    .map(([from, to]) => failover(`${from} to ${to}`, '--accel', from, '--secondary-accel', to));
  const boot = (name: string, ...how: string[]): Job => ({
    name,
    kind: 'boot',
    script: give(`node ${programs.boot} ${how.join(' ')}`),
  });
  const carry: Job = {
    name: 'Linux carried between backends',
    kind: 'boot',
    script: give(`node ${programs.carry}`),
  };
  const report = '/tmp/report.json';
  const tests: Job = {
    name: 'tier 1',
    kind: 'tests',
    script:
      `cd ${root}; node test/run.js test/kvm --silent --testTimeout=120000 --json ` +
      `--outputFile=${report} >/dev/null; echo "@@result $(cat ${report})"\n`,
  };
  const all = [
    ...chaosJobs(programs, give),
    ...failovers,
    failover('of 2 vCPUs', '--accel', 'kvm', '--cpus', '2'),
    tests,
    carry,
    boot('Linux boots on KVM'),
  ];
  if (args.long)
    all.push(boot('Linux boots on 4 vCPUs', '--cpus', '4', '--cpu', 'qemu64,+kvmclock'));
  const chosen = all.filter(job => job.name.includes(args.only ?? ''));
  if (chosen.length === 0)
    throw new Error(
      `--only ${args.only}: no job is called so; there are ${all.map(job => job.name).join(', ')}`,
    );
  return chosen;
}

/** Two runs of each kind: a kill at a random time, and one at a step of the protocol. */
function chaosJobs(programs: Programs, give: (command: string) => string): Job[] {
  const batches = args.long ? 10 : 1;
  return Array.from({ length: batches }, (_, i) => i + 1).flatMap(batch =>
    kinds.map(([from, to]): Job => ({
      name: `chaos ${from} to ${to}${args.long ? ` ${batch}` : ''}`,
      kind: 'chaos',
      script: give(
        `node ${programs.chaos} --json --runs 2 --from ${2 * batch - 2} --seed ` +
          `${seed + batch} --accel ${from} --secondary-accel ${to} --memory 128 --patience ` +
          `${patience}`,
      ),
    })),
  );
}

interface Answer {
  result?: unknown;
  lastWords: string;
  seconds: number;
}

async function runJob(job: Job, l1: L1 | undefined): Promise<Answer> {
  const from = performance.now();
  let result: unknown;
  const log: string[] = [];
  const take = (line: string) => {
    const found = /^@@result (.+)$/.exec(line);
    if (found) result = parsed(found[1]);
    else log.push(`${((performance.now() - from) / 1000).toFixed(1).padStart(7)} s  ${line}`);
    if (args.verbose && !found) console.error(`${job.name}: ${log.at(-1)}`);
  };
  if (l1) await l1.run(job.script, jobLimitMs, take);
  else
    spawnSync('bash', ['-c', `exec 2>&1\n${job.script}`], {
      encoding: 'utf8',
      timeout: jobLimitMs,
      maxBuffer: 1 << 26,
    })
      .stdout.split('\n')
      .forEach(take);
  return {
    result,
    lastWords: log.slice(-15).join('\n'),
    seconds: Math.round((performance.now() - from) / 1000),
  };
}

/** undefined: a line that L1's console mangled, which is no result. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

interface Tier2 {
  tier2: Tier;
  l2Boots: number;
  failovers: number;
}

function judge(job: Job, { result, lastWords, seconds }: Answer, sum: Tier2): void {
  if (job.kind === 'tests' && result !== undefined) {
    const tier = tierOf(result as JestReport);
    sum.tier2.passed += tier.passed;
    sum.tier2.failed += tier.failed;
    sum.tier2.skipped.push(...tier.skipped);
    return tell(
      `${job.name}: ${tier.passed} passed, ${tier.failed} failed, ${tier.skipped.length} ` +
        `skipped; ${seconds} s`,
    );
  }
  const outcome = (
    job.kind === 'chaos' ? chaosOutcome(result as ChaosReport | undefined) : result
  ) as Outcome | undefined;
  if (outcome?.ok === true) {
    sum.tier2.passed++;
    sum.l2Boots += outcome.runs ?? 1;
    if (job.kind !== 'boot') sum.failovers += outcome.runs ?? 1;
  } else {
    sum.tier2.failed++;
    console.error(
      `failed: ${job.name}: ${outcome?.error ?? 'no result'}; its last words:\n${lastWords}`,
    );
  }
  tell(`${job.name}: ${outcome ? JSON.stringify(outcome) : 'no result'}; ${seconds} s`);
}

interface Outcome {
  ok: boolean;
  runs?: number;
  error?: string;
}

interface ChaosReport {
  runs: number;
  violations: number;
  seeds: { seed: number };
  details: { plan: unknown; violations: string[]; outageMs: number }[];
}

function chaosOutcome(report: ChaosReport | undefined): Outcome | undefined {
  if (!report) return undefined;
  const wrong = report.details.filter(run => run.violations.length > 0);
  const error = wrong
    .map(({ plan, violations }) => `${JSON.stringify(plan)}: ${violations.join('; ')}`)
    .join(' | ');
  return {
    ok: report.violations === 0 && report.runs > 0,
    runs: report.runs,
    ...(error && { error: `seed ${report.seeds.seed}: ${error}` }),
  };
}

async function tier2(): Promise<Tier2> {
  const sum: Tier2 = { tier2: { passed: 0, failed: 0, skipped: [] }, l2Boots: 0, failovers: 0 };
  const nested = detectKvm().kind !== 'full';
  const missing = nested ? missingPackages() : [];
  if (missing.length > 0)
    throw new Error(`tier 2 needs packages: apt-get install ${missing.join(' ')}`);
  const programs = await bundle();
  const downloads = progress(process.stderr, tell);
  await prepareGuest({}, downloads);
  if (nested) await prepareL1(downloads);
  const queue = jobs(programs);
  const worker = async () => {
    const l1 = nested ? new L1() : undefined;
    for (let job = queue.shift(); job; job = queue.shift()) judge(job, await runJob(job, l1), sum);
    await l1?.dispose();
  };
  await Promise.all(nested ? [worker(), worker()] : [worker()]);
  return sum;
}

// L1 ends with this process
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

try {
  const { kind, reason } = detectKvm();
  tell(`/dev/kvm: ${kind}: ${reason}`);
  const first = args.only === undefined ? tier1() : { passed: 0, failed: 0, skipped: [] };
  tell(`tier 1: ${first.passed} passed, ${first.failed} failed, ${first.skipped.length} skipped`);
  const second = await tier2();
  const result = {
    tier1: first,
    ...second,
    seconds: Math.round((performance.now() - started) / 1000),
  };
  if (args.json) console.log(JSON.stringify(result));
  else
    tell(
      `tier 2: ${second.tier2.passed} passed, ${second.tier2.failed} failed; ` +
        `${second.l2Boots} boots, ${second.failovers} failovers`,
    );
  process.exitCode = first.failed + second.tier2.failed > 0 ? 1 : 0;
} catch (error) {
  console.error(`test:kvm: ${(error as Error).message}`);
  process.exitCode = 1;
}
