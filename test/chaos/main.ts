/**
 * `npm run chaos -- --runs N [--seed S] [--from N] [--step NAME] [--accel kvm] [--secondary-accel
 * soft] [--memory MIB] [--smp N] [--patience FACTOR] [--json]`: kills under load, half of them at
 * random times, half at a named step of the protocol. After each kill the survivor must go on with
 * the same TCP connection without a gap or a repeat, and hold every record that the client was
 * told.
 * Also: the secondary dies and the primary goes on; the primary sleeps (SIGSTOP) through a failover
 * and must stay silent when it wakes.
 */
import { rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { ColoStep } from '../../src/colo/steps.js';
import { CountingClient } from '../demo/client.js';
import { CannotRun, makeRunFolder } from '../demo/folder.js';
import { addresses, buildNetwork, enterNamespace, framesFrom, taps } from '../demo/network.js';
import { Pair, type Role } from '../demo/pair.js';
import { proveRecords } from '../demo/records.js';
import { guestImage, type GuestImage, prepareGuest } from '../guest/build.js';
import { progress } from '../guest/kernel.js';
import { Random } from '../support/random.js';

type Plan =
  | { kind: 'random' | 'secondary' | 'asleep'; afterMs: number }
  | { kind: 'step'; step: ColoStep; occurrence: number };

/**
 * In this order, over and over; 20 runs pass once through the primary's, 60 through all. Whoever
 * passes the step dies there.
 */
const steps: readonly ColoStep[] = [
  'primary-sent-checkpoint-request',
  'primary-got-checkpoint-reply',
  'primary-sent-vmstate-send',
  'primary-half-pages',
  'primary-half-blob',
  'primary-sent-vmstate-size',
  'primary-got-vmstate-received', // received, not yet released
  'primary-released', // released, not yet loaded
  'primary-got-vmstate-loaded',
  'primary-committed', // the held disk writes may flow
  'primary-stopped',
  'primary-staged',
  'primary-cut',
  'primary-resumed',
  'primary-offered',
  'secondary-got-checkpoint-request',
  'secondary-sent-checkpoint-reply',
  'secondary-got-pages',
  'secondary-got-blob',
  'secondary-checked',
  'secondary-got-vmstate-size',
  'secondary-sent-vmstate-received',
  'secondary-half-applied',
  'secondary-ram-applied',
  'secondary-devices-applied',
  'secondary-disk-committed',
  'secondary-sent-vmstate-loaded',
];

interface Run {
  plan: Plan;
  seed: number;
  violations: string[];
  outageMs: number;
  recordsTold: number;
}

/**
 * Precopy sends pages, too, about a hundred chunks: a kill among them is before protection, and
 * another story.
 */
const afterPrecopy = (step: ColoStep) => (step === 'secondary-got-pages' ? 400 : 0);

/**
 * The load that the proof asks for: at least 4 writes in flight and 1,000 pages per checkpoint. A
 * slow host has longer periods of checkpoints, and the guest's grow with them: before protection
 * nothing holds its writes back, and they would take the processor that precopy needs.
 */
const loadOf = (patience: number) =>
  `colo.writers=8 colo.pace=${5000 * (patience - 1)} colo.pages=1400 colo.dirty=${30 * patience}`;
/** A step is passed so often before the blow, at most. */
const occurrences = (patience: number) => Math.ceil(12 / patience);

function plans(
  {
    runs,
    from,
    step: only,
    where,
  }: { runs: number; from: number; step: ColoStep | undefined; where: { patience: number } },
  random: Random,
): Plan[] {
  return Array.from({ length: runs }, (_, n): Plan => {
    const i = from + n;
    const step = only ?? (i % 2 === 1 ? steps[((i - 1) / 2) % steps.length] : undefined);
    if (step)
      return {
        kind: 'step',
        step,
        occurrence: 3 + random.below(occurrences(where.patience)) + afterPrecopy(step),
      };
    const kind = i % 20 === 4 ? 'secondary' : i % 20 === 10 ? 'asleep' : 'random';
    return { kind, afterMs: 300 + random.below(2500) };
  });
}

/** Where every run happens. */
interface World {
  readonly guest: GuestImage;
  readonly accel: string;
  readonly secondaryAccel: string | undefined;
  readonly memoryMiB: number;
  readonly cpus: number;
  /**
   * Factor for every time limit, the periods of checkpoints and of the load, and the time before a
   * blow: for hosts that are themselves emulated.
   */
  readonly patience: number;
  /** How far a run is: without it a run that hangs says nothing. */
  readonly tell: (what: string) => void;
}

async function one(plan: Plan, seed: number, dir: string, world: World): Promise<Run> {
  const limit = 60_000 * world.patience;
  const client = new CountingClient();
  const run: Run = { plan, seed, violations: [], outageMs: 0, recordsTold: 0 };
  const env =
    plan.kind === 'step'
      ? { [victimRole(plan)]: { COLO_TEST: '1', COLO_KILL_AT: `${plan.step}:${plan.occurrence}` } }
      : {};
  const pair = await Pair.start({
    dir,
    ...world,
    diskMiB: 256,
    delayMs: 60 * world.patience,
    transport: seed % 2 ? 'unix' : 'tcp',
    append: loadOf(world.patience),
    env,
  });
  try {
    await pair.attachReplica();
    await client.start(addresses.guest, addresses.port, limit);
    world.tell('the guest answers');
    const lost = survivorOf(pair, plan).qmp.event('COLO_EXIT', limit);
    lost.catch(() => undefined);
    await pair.protect(limit).catch((error: unknown) => {
      if (plan.kind !== 'step' || !pair[victimRole(plan)].dead) throw error;
    });
    world.tell('protected');
    await strike(plan, pair, client, world.patience);
    world.tell(`struck: ${describe(plan)}`);
    await lost;
    await survivorOf(pair, plan).qmp.execute('x-colo-lost-heartbeat', undefined, limit);
    await client.answers(world.patience > 1 ? 60 : 200, limit);
    world.tell('the survivor answers');
    if (plan.kind === 'asleep') await wake(pair, run);
    await judge(run, pair, client, plan, limit);
  } catch (error) {
    const why = client.report.error ? ` (client: ${client.report.error})` : '';
    run.violations.push(`${(error as Error).message}${why}`);
  } finally {
    client.stop();
    pair.dispose();
    await Promise.all([pair.primary.exited, pair.secondary.exited]);
  }
  return run;
}

const victimRole = (plan: Plan): Role =>
  plan.kind === 'secondary' || (plan.kind === 'step' && plan.step.startsWith('secondary'))
    ? 'secondary'
    : 'primary';
const survivorOf = (pair: Pair, plan: Plan) =>
  pair[victimRole(plan) === 'primary' ? 'secondary' : 'primary'];

async function strike(
  plan: Plan,
  pair: Pair,
  client: CountingClient,
  patience: number,
): Promise<void> {
  if (plan.kind === 'step') {
    const late = new Promise<never>((_, reject) =>
      setTimeout(
        () => reject(new Error(`step ${plan.step} was not reached`)),
        60_000 * patience,
      ).unref(),
    );
    await Promise.race([pair[victimRole(plan)].exited, late]);
  } else {
    await new Promise(resolve => setTimeout(resolve, plan.afterMs * patience));
    if (plan.kind === 'asleep') pair.primary.kill('SIGSTOP');
    else pair[victimRole(plan)].kill('SIGKILL');
  }
  client.markKill();
}

/** The primary slept through the failover: nothing that it held may leave when it wakes. */
async function wake(pair: Pair, run: Run): Promise<void> {
  const before = framesFrom(taps.primary);
  pair.primary.kill('SIGCONT');
  await new Promise(resolve => setTimeout(resolve, 3000));
  const sent = framesFrom(taps.primary) - before;
  if (sent > 0) run.violations.push(`the primary sent ${sent} frames after it woke`);
}

async function judge(
  run: Run,
  pair: Pair,
  client: CountingClient,
  plan: Plan,
  limit: number,
): Promise<void> {
  await client.answers(50, limit);
  const { report } = client;
  client.stop();
  const survivor = survivorOf(pair, plan);
  await survivor.qmp.execute('quit').catch(() => undefined);
  await survivor.exited;
  const { proven, firstBad } = proveRecords(survivor.path('img'), report.recordsTold);
  run.outageMs = Math.round(report.outageMs);
  run.recordsTold = report.recordsTold;
  if (report.error) run.violations.push(`connection: ${report.error}`);
  if (report.gaps + report.repeats > 0)
    run.violations.push(`${report.gaps} gaps, ${report.repeats} repeats`);
  if (report.memoryErrors > 0)
    run.violations.push(`${report.memoryErrors} memory errors in the guest`);
  if (proven !== report.recordsTold)
    run.violations.push(`record ${firstBad} of ${report.recordsTold} is missing`);
}

const options = {
  runs: { type: 'string', default: '20' },
  seed: { type: 'string' },
  /** Begin with this one of the plans, to share them out among several calls. */
  from: { type: 'string', default: '0' },
  step: { type: 'string' },
  accel: { type: 'string', default: 'auto' },
  'secondary-accel': { type: 'string' },
  memory: { type: 'string', default: '192' },
  smp: { type: 'string', default: '1' },
  patience: { type: 'string', default: '1' },
  json: { type: 'boolean', default: false },
  keep: { type: 'boolean', default: false },
} as const;

function parse() {
  try {
    const {
      runs,
      from,
      seed,
      json,
      keep,
      step,
      accel,
      memory,
      smp,
      patience,
      'secondary-accel': secondaryAccel,
    } = parseArgs({ options }).values;
    const number = (name: string, text: string) => {
      if (!(Number(text) > 0)) throw new Error(`--${name} ${text}: a number above 0 is needed`);
      return Number(text);
    };
    if (!Number.isInteger(Number(from)) || Number(from) < 0)
      throw new Error(`--from ${from}: the number of a plan from 0 is needed`);
    const known = steps.find(name => name === step);
    if (step !== undefined && !known)
      throw new Error(`--step ${step}: not one of ${steps.join(', ')}`);
    const where = {
      accel,
      secondaryAccel,
      memoryMiB: number('memory', memory),
      cpus: number('smp', smp),
      patience: number('patience', patience),
    };
    return {
      runs: number('runs', runs),
      from: Number(from),
      seed: seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(seed),
      step: known,
      json,
      keep,
      where,
    };
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

async function main(): Promise<void> {
  const args = parse();
  await enterNamespace(() => prepareGuest({}, progress(process.stderr, console.error)));
  buildNetwork();
  const world: World = {
    guest: guestImage(),
    ...args.where,
    tell: args.json ? console.error : () => undefined,
  };
  const random = new Random(args.seed);
  const done: Run[] = [];
  const planned = plans(args, random);
  const hits: Record<string, number> = Object.fromEntries(
    planned.flatMap(plan => (plan.kind === 'step' ? [[plan.step, 0]] : [])),
  );
  for (const plan of planned) {
    const dir = makeRunFolder('colo-chaos-');
    const run = await one(plan, random.below(2 ** 31), dir, world);
    if (args.keep && run.violations.length) console.error(`kept: ${dir}`);
    else rmSync(dir, { recursive: true, force: true });
    if (plan.kind === 'step' && !run.violations.some(v => v.includes('was not reached')))
      hits[plan.step]++;
    done.push(run);
    const say = args.json ? console.error : console.log;
    say(
      `${String(done.length).padStart(3)}/${args.runs} ${describe(plan).padEnd(34)} ` +
        (run.violations.join('; ') || `ok, outage ${run.outageMs} ms, ${run.recordsTold} records`),
    );
  }
  const violations = done.filter(run => run.violations.length > 0).length;
  const seeds = { seed: args.seed, runs: done.map(run => run.seed) };
  if (args.json)
    console.log(JSON.stringify({ runs: done.length, violations, seeds, hits, details: done }));
  else
    console.log(
      `${done.length} runs, ${violations} violations, seed ${args.seed}; hits ` +
        `${JSON.stringify(hits)}`,
    );
  process.exitCode = violations > 0 ? 1 : 0;
}

function describe(plan: Plan): string {
  return plan.kind === 'step'
    ? `kill at ${plan.step}, no. ${plan.occurrence}`
    : `${plan.kind} after ${plan.afterMs} ms`;
}

await main().catch((error: Error) => {
  if (!(error instanceof CannotRun)) throw error;
  console.error(`chaos: ${error.message}`);
  process.exitCode = 1;
});
