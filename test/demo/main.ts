/**
 * `npm run demo [-- --json] [--accel soft] [--secondary-accel kvm] [--kernel FILE --modules DIR]`:
 * a Linux guest survives kill -9 of its host process, and the TCP client that was talking to it
 * sees nothing but a short wait. Two proofs: the connection, and the disk.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import chalk from 'chalk';
import Table from 'cli-table3';
import { defaultColoOptions } from '../../src/colo/options.js';
import { guestImage, prepareGuest } from '../guest/build.js';
import { progress } from '../guest/kernel.js';
import { CountingClient } from './client.js';
import { makeRunFolder } from './folder.js';
import { addresses, buildNetwork, enterNamespace, startedAt } from './network.js';
import { Pair, type Side } from './pair.js';
import { proveRecords } from './records.js';
import { runUnattended, type UnattendedResult } from './unattended.js';

const options = {
  json: { type: 'boolean', default: false },
  accel: { type: 'string', default: 'auto' },
  'secondary-accel': { type: 'string' },
  memory: { type: 'string', default: '256' },
  cpus: { type: 'string', default: '1' },
  /** How many answers the client wants of the survivor. */
  answers: { type: 'string', default: '500' },
  /**
   * Factor for every time limit, and fewer answers are waited for, each of which needs a
   * checkpoint: for hosts that are themselves emulated.
   */
  patience: { type: 'string', default: '1' },
  /** These hosts fall silent (SIGSTOP), and the connection to them stays. */
  silent: { type: 'boolean', default: false },
  kernel: { type: 'string' },
  modules: { type: 'string' },
  delay: { type: 'string', default: String(defaultColoOptions.checkpointDelayMs) },
  /** So many hosts are lost after that, one after the other, with nobody there: medians. */
  kills: { type: 'string', default: '0' },
  keep: { type: 'boolean', default: false },
} as const;

export interface DemoResult {
  ok: boolean;
  accel: string;
  checkpoints: number;
  pauseMs: { p50: number; p99: number };
  pagesPerCheckpoint: number;
  bytesPerCheckpoint: number;
  outageMs: number;
  recordsTold: number;
  recordsProven: number;
  counterGaps: number;
  counterRepeats: number;
  answers: number;
  localPort: number;
  /** A pair that nobody watches; medians, ms. undefined: it was not asked for. */
  unattended?: UnattendedResult;
  error?: string;
}

const started = startedAt() - performance.timeOrigin;
/** --json: what happens goes to stderr, the result alone to stdout. */
let quiet = false;
if (process.env.NO_COLOR !== undefined || process.env.TERM === 'dumb') chalk.level = 0;

function tell(what: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(2).padStart(7);
  if (quiet) return console.error(`${seconds} s  ${what}`);
  console.log(
    process.stdout.isTTY ? `${chalk.dim(`${seconds} s`)}  ${what}` : `${seconds} s  ${what}`,
  );
}

async function run(args: ReturnType<typeof parse>, dir: string): Promise<DemoResult> {
  const guest = guestImage(choiceOf(args));
  buildNetwork();
  const client = new CountingClient();
  const limit = Number(args.patience) * 60_000;
  const pair = await Pair.start({
    dir,
    guest,
    accel: args.accel,
    secondaryAccel: args['secondary-accel'],
    memoryMiB: Number(args.memory),
    cpus: Number(args.cpus),
    diskMiB: 128,
    delayMs: Number(args.delay),
    transport: 'tcp',
    append: '',
    env: {},
  });
  try {
    tell(`started: ${pair.secondary.commandLine}`);
    tell(`started: ${pair.primary.commandLine}`);
    await pair.attachReplica();
    tell('the replica is attached to the disk; the guest boots');
    await client.start(addresses.guest, addresses.port, limit);
    tell(`the guest answers; one TCP connection from port ${client.report.localPort} counts`);
    await pair.protect(limit);
    tell(`protected: a checkpoint at least every ${args.delay} ms`);
    await client.answers(Math.ceil(10 / Number(args.patience)), limit);
    const faster = Math.max(20, Math.round(Number(args.delay) / 2));
    await pair.setDelay(faster);
    tell(`checkpoint period changed while running: ${faster} ms`);
    await client.answers(Math.ceil(40 / Number(args.patience)), limit);
    await new Promise(resolve => setTimeout(resolve, 500 + Math.random() * 1500));
    return await killAndProve(pair, client, args);
  } catch (error) {
    throw new Error(`${(error as Error).message}${await pair.primary.lastWords()}`, {
      cause: error,
    });
  } finally {
    client.stop();
    pair.dispose();
  }
}

async function accelOf(side: Side): Promise<string> {
  return ((await side.qmp.execute('query-kvm')) as { enabled: boolean }).enabled ? 'kvm' : 'soft';
}

async function killAndProve(
  pair: Pair,
  client: CountingClient,
  args: ReturnType<typeof parse>,
): Promise<DemoResult> {
  const { secondary, primary } = pair;
  const accel = [await accelOf(primary), await accelOf(secondary)];
  const limit = Number(args.patience) * 60_000;
  const statistics = await pair.statistics();
  const lost = secondary.qmp.event('COLO_EXIT', limit);
  primary.kill('SIGKILL');
  client.markKill();
  tell(chalk.red('kill -9 of the primary'));
  await lost;
  tell('the secondary reports COLO_EXIT; x_colo_lost_heartbeat');
  await secondary.qmp.execute('x-colo-lost-heartbeat');
  await client.answers(1, limit);
  tell(`the same connection (port ${client.report.localPort}) goes on`);
  await client.answers(Number(args.answers), limit);
  const { report } = client;
  client.stop();
  tell('the survivor quits; its image is read back');
  await secondary.qmp.execute('quit').catch(() => undefined);
  await secondary.exited;
  const { proven, firstBad } = proveRecords(secondary.path('img'), report.recordsTold);
  const connectionOk =
    !report.error && report.gaps === 0 && report.repeats === 0 && report.memoryErrors === 0;
  const diskOk = report.recordsTold > 0 && proven === report.recordsTold;
  return {
    ok: connectionOk && diskOk,
    accel: accel[0] === accel[1] ? accel[0] : accel.join(' to '),
    ...statistics,
    outageMs: Math.round(report.outageMs),
    recordsTold: report.recordsTold,
    recordsProven: proven,
    counterGaps: report.gaps,
    counterRepeats: report.repeats,
    answers: report.answers,
    localPort: report.localPort,
    error:
      report.error ??
      (report.memoryErrors
        ? `${report.memoryErrors} memory errors in the guest`
        : firstBad
          ? `record ${firstBad} is not in the image`
          : undefined),
  };
}

function table(result: DemoResult): string {
  const rows: [string, string][] = [
    ['checkpoints', String(result.checkpoints)],
    ['pause p50 / p99', `${result.pauseMs.p50.toFixed(1)} / ${result.pauseMs.p99.toFixed(1)} ms`],
    ['pages per checkpoint', String(Math.round(result.pagesPerCheckpoint))],
    ['bytes per checkpoint', `${(result.bytesPerCheckpoint / 1e6).toFixed(2)} MB`],
    ['outage seen by the client', `${result.outageMs} ms`],
    [
      'answers on one connection',
      `${result.answers} (gaps ${result.counterGaps}, repeats ${result.counterRepeats})`,
    ],
    ['records told / proven', `${result.recordsTold} / ${result.recordsProven}`],
    ...unattendedRows(result.unattended),
  ];
  if (!process.stdout.isTTY) return rows.map(row => row.join(': ')).join('\n');
  const drawn = new Table({ style: { head: [], border: [] } });
  drawn.push(...rows);
  return drawn.toString();
}

function unattendedRows(unattended: UnattendedResult | undefined): [string, string][] {
  if (!unattended) return [];
  const { losses, median } = unattended;
  const of = (name: keyof typeof median, unit = 'ms') =>
    `${median[name]} ${unit} (of ${losses.map(loss => loss[name]).join(', ')})`;
  return [
    ['nobody there: the guest answers again', of('guestMs')],
    ["the client's next answer, TCP's timer included", of('clientMs')],
    ["from a host's return to protected", of('protectedMs')],
    ['of the disk copied to it', of('copiedBytes', 'bytes')],
    ['of the disk written meanwhile', of('writtenBytes', 'bytes')],
  ];
}

function parse() {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

const choiceOf = (args: ReturnType<typeof parse>) => ({ kernel: args.kernel, tree: args.modules });

/** Outside the namespace, where there is a network. */
async function prepare(args: ReturnType<typeof parse>): Promise<void> {
  tell('preparing the guest: Debian cloud kernel, an initramfs of our own');
  await prepareGuest(choiceOf(args), progress(process.stderr, tell));
}

function unattendedRun(args: ReturnType<typeof parse>, dir: string): Promise<UnattendedResult> {
  mkdirSync(dir);
  return runUnattended({
    dir,
    guest: guestImage(choiceOf(args)),
    accel: args.accel,
    memoryMiB: Number(args.memory),
    delayMs: Number(args.delay),
    kills: Number(args.kills),
    silent: args.silent,
    limitMs: Number(args.patience) * 60_000,
    tell,
  });
}

async function main(args: ReturnType<typeof parse>): Promise<DemoResult> {
  await enterNamespace(() => prepare(args));
  const dir = makeRunFolder('colo-demo-');
  try {
    const result = await run(args, dir);
    if (Number(args.kills) === 0 || !result.ok) return result;
    const unattended = await unattendedRun(args, join(dir, 'unattended'));
    const { error } = unattended;
    return { ...result, unattended, ok: error === undefined, error };
  } finally {
    if (args.keep) console.error(`kept: ${dir}`);
    else rmSync(dir, { recursive: true, force: true });
  }
}

const args = parse();
quiet = args.json;
try {
  const result = await main(args);
  const verdict = result.ok
    ? chalk.green('Both proofs hold.')
    : chalk.red(`A proof failed: ${result.error ?? 'see the table'}`);
  console.log(args.json ? JSON.stringify(result) : `${table(result)}\n${verdict}`);
  process.exitCode = result.ok ? 0 : 1;
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  if (args.json) console.log(JSON.stringify({ ok: false, error: message }));
  else console.error(`demo: ${message}`);
  process.exitCode = 1;
}
