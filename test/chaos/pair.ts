/**
 * `npm run chaos:pair -- --runs N [--seed S] [--losses] [--within MS] [--keep] [--json]`: a pair
 * that nobody looks after, in two hosts made of namespaces, with `colo run` on both and an etcd of
 * three members. Each run is a seed's faults (pair/plan.ts) upon the protected pair, in the middle
 * of its takeover or rejoining too; then it has to be protected again within the time. One client
 * counts over one connection through all runs. Runs share a pair until one fails: its logs are
 * kept, and the next run begins with a new pair. The steps of wall clocks are the simulation's:
 * processes cannot have clocks of their own.
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { CannotRun, makeRunFolder } from '../demo/folder.js';
import { enterNamespace } from '../demo/network.js';
import { type GuestImage, guestImage, prepareGuest } from '../guest/build.js';
import { progress } from '../guest/kernel.js';
import { medianOf } from '../demo/unattended.js';
import { etcdInstalled } from '../support/etcd-cluster.js';
import { buildOutside } from './pair/hosts.js';
import { lossOf, planOf } from './pair/plan.js';
import { type Trial, trial } from './pair/trial.js';
import { UnattendedPair } from './pair/unattended.js';

const options = {
  runs: { type: 'string', default: '20' },
  seed: { type: 'string', default: '1' },
  /** Each run is the loss of one host by kill -9, and its return. */
  losses: { type: 'boolean', default: false },
  /** From the end of the last fault to both sides in step, ms. */
  within: { type: 'string', default: '60000' },
  /** Logs of good runs too. */
  keep: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
} as const;

function parse() {
  try {
    const { runs, seed, within, ...rest } = parseArgs({ options }).values;
    const count = (name: string, text: string) => {
      if (!/^[1-9]\d{0,9}$/.test(text))
        throw new Error(`--${name} ${text}: a number from 1 is needed`);
      return Number(text);
    };
    return {
      runs: count('runs', runs),
      seed: count('seed', seed),
      withinMs: count('within', within),
      ...rest,
    };
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

const TOOLS = [
  ['nft', 'nftables'],
  ['mkfs.ext4', 'e2fsprogs'],
  ['fsfreeze', 'util-linux'],
  ['tc', 'iproute2'],
  ['certtool', 'gnutls-bin'],
];

function checkTools(): void {
  if (process.getuid?.() !== 0)
    throw new CannotRun('hosts with disks of their own are made by root: run this as root');
  if (!etcdInstalled) throw new CannotRun('etcd is missing: apt-get install etcd-server');
  for (const [tool, from] of TOOLS)
    if (spawnSync(tool, ['--version']).error)
      throw new CannotRun(`${tool} is missing: apt-get install ${from}`);
}

async function main(): Promise<void> {
  const args = parse();
  checkTools();
  await enterNamespace(() => prepareGuest({}, progress(process.stderr, console.error)));
  buildOutside();
  const guest = guestImage();
  const plan = args.losses ? lossOf : planOf;
  const done: Trial[] = [];
  let pair: UnattendedPair | undefined;
  try {
    for (let n = 0; n < args.runs; n++) {
      if (pair?.isWorn) pair = await pair.dispose(args).then(() => undefined);
      pair ??= await startPair(guest);
      const seed = args.seed + n;
      const tell = (line: string) => console.error(`  ${line}`);
      const run = await trial(pair, { seed, plan: plan(seed), withinMs: args.withinMs, tell });
      done.push(run);
      const say = args.json ? console.error : console.log;
      say(`${String(n + 1).padStart(4)}/${args.runs} seed ${seed}: ${outcomeOf(run, pair)}`);
      if (run.violations.length === 0) continue;
      console.error(`kept: ${pair.dir}; again: npm run chaos:pair -- --runs 1 --seed ${seed}`);
      pair = await pair.dispose({ keep: true }).then(() => undefined);
    }
  } finally {
    await pair?.dispose(args);
  }
  const bad = done.filter(({ violations }) => violations.length > 0).length;
  if (args.json) console.log(JSON.stringify({ runs: done.length, violations: bad, details: done }));
  else {
    const outages = `client's longest wait: median ${medianOf(done.map(run => run.outageMs))} ms`;
    const returns = `protected again: median ${medianOf(done.map(run => run.protectedMs))} ms`;
    console.log(`${outages}; ${returns}`);
    console.log(bad === 0 ? `all ${done.length} runs good` : `${bad} of ${done.length} runs bad`);
  }
  process.exit(bad > 0 ? 1 : 0);
}

function outcomeOf(run: Trial, { recordsTold }: UnattendedPair): string {
  if (run.violations.length > 0) return run.violations.join('; ');
  return (
    `ok, ${run.takeovers} takeovers, outage ${run.outageMs} ms, ` +
    `protected after ${run.protectedMs} ms, ${recordsTold} records`
  );
}

/** Errors keep nothing but what is in the folder. */
async function startPair(guest: GuestImage): Promise<UnattendedPair> {
  const dir = makeRunFolder('colo-pair-');
  try {
    return await UnattendedPair.start(dir, guest);
  } catch (error) {
    throw new CannotRun(`the pair did not come up, see ${dir}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

await main().catch((error: Error) => {
  console.error(error instanceof CannotRun ? `chaos:pair: ${error.message}` : error.stack);
  process.exit(1);
});
