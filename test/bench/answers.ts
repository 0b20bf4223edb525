/**
 * `npm run bench:answers [-- --seconds 4] [--json]`: how long an answer of the guest waits for its
 * checkpoint, by x-checkpoint-delay and x-checkpoint-gap. The demo's guest and pair over tcp; one
 * client that asks again at once, then one that rests between two questions; then nobody asks. The
 * guest works all the time.
 */
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { defaultColoOptions } from '../../src/colo/options.js';
import { makeRunFolder } from '../demo/folder.js';
import { addresses, buildNetwork, enterNamespace } from '../demo/network.js';
import { Pair } from '../demo/pair.js';
import { guestImage, prepareGuest } from '../guest/build.js';
import { progress } from '../guest/kernel.js';
import { machineLine, machineNote, quantiles, rounded, table } from './machine.js';

const args = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '4' },
    accel: { type: 'string', default: 'soft' },
  },
}).values;
const RUN_MS = Number(args.seconds) * 1000;
const REST_MS = 150;
const LIMIT_MS = 120_000;

const { checkpointDelayMs: usualDelay, checkpointGapMs: usualGap } = defaultColoOptions;
const paces = [
  { delay: usualDelay, gap: usualGap },
  { delay: usualDelay, gap: 5 },
  { delay: usualDelay, gap: 20 },
  { delay: 1000, gap: usualGap },
  // Output waits for the delay alone.
  { delay: 50, gap: 50 },
  { delay: 200, gap: 200 },
];

interface Row {
  pace: string;
  /** ms. */
  atOnce: { p50: number; p99: number };
  rested: { p50: number; p99: number };
  questions: number;
  checkpoints: number;
  idleCheckpoints: number;
  pauseMs: { p50: number; p99: number };
}

const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

async function guestSocket(): Promise<Socket> {
  for (const end = performance.now() + LIMIT_MS; ; await later(100)) {
    const socket = connect({ host: addresses.guest, port: addresses.port, noDelay: true });
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if (performance.now() > end) throw error;
    }
  }
}

/** ms of each answer. */
async function ask(socket: Socket, restMs: number): Promise<number[]> {
  const took: number[] = [];
  for (const end = performance.now() + RUN_MS; performance.now() < end;) {
    const at = performance.now();
    socket.write('next\n');
    let line = '';
    while (!line.endsWith('\n')) line += String((await once(socket, 'data'))[0]);
    took.push(performance.now() - at);
    if (restMs > 0) await later(restMs * (0.5 + Math.random()));
  }
  return took;
}

async function measure(pair: Pair, socket: Socket, pace: string): Promise<Row> {
  const count = async () => (await pair.statistics()).checkpoints;
  const first = await count();
  const begun = performance.now();
  const atOnce = await ask(socket, 0);
  const seconds = (performance.now() - begun) / 1000;
  const busy = await count();
  const rested = await ask(socket, REST_MS);
  await later(500);
  const idle = await count();
  await later(RUN_MS);
  const { pauseMs } = await pair.statistics();
  return {
    pace,
    atOnce: quantiles(atOnce),
    rested: quantiles(rested),
    questions: rounded(atOnce.length / seconds),
    checkpoints: rounded((busy - first) / seconds),
    idleCheckpoints: rounded(((await count()) - idle) / (RUN_MS / 1000)),
    pauseMs,
  };
}

async function run(dir: string): Promise<Row[]> {
  buildNetwork();
  const pair = await Pair.start({
    dir,
    guest: guestImage({}),
    accel: args.accel,
    memoryMiB: 256,
    diskMiB: 128,
    delayMs: usualDelay,
    transport: 'tcp',
    append: '',
    env: {},
  });
  try {
    await pair.attachReplica();
    const socket = await guestSocket();
    const rows: Row[] = [];
    await pair.protect(LIMIT_MS);
    for (const { delay, gap } of paces) {
      await pair.primary.qmp.execute('migrate-set-parameters', {
        'x-checkpoint-delay': delay,
        'x-checkpoint-gap': gap,
      });
      await later(1000);
      rows.push(await measure(pair, socket, `${delay} / ${gap} ms`));
      if (!args.json) console.error(rows.at(-1)!.pace);
    }
    socket.destroy();
    return rows;
  } finally {
    pair.dispose();
  }
}

await enterNamespace(() =>
  prepareGuest(
    {},
    progress(process.stderr, line => console.error(line)),
  ),
);
const note = machineNote();
const dir = makeRunFolder('colo-answers-');
try {
  const rows = await run(dir);
  const head = ['delay / gap', 'asked at once p50 / p99', 'after a rest p50 / p99', 'questions/s'];
  head.push('checkpoints/s', 'idle', 'pause p50 / p99');
  const both = ({ p50, p99 }: { p50: number; p99: number }) =>
    `${p50.toFixed(1)} / ${p99.toFixed(1)} ms`;
  const lines = rows.map(r => [
    r.pace,
    both(r.atOnce),
    both(r.rested),
    r.questions,
    r.checkpoints,
    r.idleCheckpoints,
    both(r.pauseMs),
  ]);
  if (args.json) console.log(JSON.stringify({ machine: note, rows }));
  else console.log(`${table(head, lines)}\n${machineLine(note)}`);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
