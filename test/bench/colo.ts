/**
 * `npm run bench:colo [-- --json] [--seconds 8] [--only TEXT] [--accel soft] [--transport unix]`:
 * what protection costs a guest, by loads of which each has a pair of its own. The guest counts
 * turns and gaps by its own clock; its rate is compared with that of the same VM before it was
 * protected. --transport tcp:127.0.0.1:PORT is the other wire. Nothing here passes or fails.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildGuest, type Seen } from './colo/guest.js';
import { type Load, loads } from './colo/loads.js';
import { BenchPair } from './colo/pair.js';
import { machineLine, machineNote, quantiles, rounded, table } from './machine.js';

const args = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '8' },
    only: { type: 'string', default: '' },
    accel: { type: 'string', default: 'soft' },
    transport: { type: 'string', default: 'unix' },
  },
}).values;
const SETTLE_MS = 1500;
const UNPROTECTED_MS = 2000;
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

interface Row {
  load: string;
  checkpoints: number;
  perSecond: number;
  pages: number;
  pauseMs: { p50: number; p99: number };
  /** Resumed to vmstate-received, with the request before it. */
  receivedMs: { p50: number; p99: number };
  bytesPerDirtyByte: number;
  /** CPU time of a checkpoint, without the vCPU's: what other work on the machine changes least. */
  cpuMs: { primary: number; secondary: number };
  /** Of the guest's loop, of what it did unprotected. */
  work: number;
  /** By the guest's clock, in a second of it. */
  gapMsPerSecond: number;
}

async function watched(pair: BenchPair, ms: number): Promise<Seen> {
  const from = await pair.seen();
  await later(ms);
  const to = await pair.seen();
  const of = (name: keyof Seen) => to[name] - from[name];
  return { units: of('units'), ms: of('ms'), rounds: of('rounds'), gapMs: of('gapMs') };
}

async function rowOf(load: Load, kernel: string, dir: string): Promise<Row> {
  const pair = new BenchPair(dir, kernel, load, args.accel, args.transport);
  try {
    await pair.ready();
    const before = await watched(pair, UNPROTECTED_MS);
    await pair.protect(load.delayMs);
    await later(SETTLE_MS);
    const first = pair.lines().length;
    const cpu = await pair.cpuMs();
    const during = await watched(pair, Number(args.seconds) * 1000);
    const cpuAfter = await pair.cpuMs();
    const lines = pair.lines().slice(first);
    const sum = (name: 'pages' | 'ramBytes') => lines.reduce((all, line) => all + line[name], 0);
    return {
      load: load.name,
      checkpoints: lines.length,
      perSecond: rounded(lines.length / Number(args.seconds)),
      pages: Math.round(sum('pages') / lines.length),
      pauseMs: quantiles(lines.map(line => line.pauseMs)),
      receivedMs: quantiles(lines.map(line => line.receivedMs - line.pauseMs)),
      bytesPerDirtyByte: rounded(sum('ramBytes') / (sum('pages') * 4096)),
      cpuMs: {
        primary: rounded((cpuAfter.primary - cpu.primary) / lines.length),
        secondary: rounded((cpuAfter.secondary - cpu.secondary) / lines.length),
      },
      work: rounded(during.units / during.ms / (before.units / before.ms)),
      gapMsPerSecond: rounded((during.gapMs / during.ms) * 1000),
    };
  } finally {
    await pair.dispose();
  }
}

const machine = machineNote();
const dir = mkdtempSync(join(tmpdir(), 'colo-bench-'));
const rows: Row[] = [];
try {
  const kernel = buildGuest(dir);
  for (const load of loads.filter(({ name }) => name.includes(args.only))) {
    if (!args.json) process.stderr.write(`${load.name}\n`);
    rows.push(await rowOf(load, kernel, dir));
  }
} finally {
  rmSync(dir, { recursive: true });
}
if (args.json) console.log(JSON.stringify({ machine, ...args, rows }));
else {
  console.log(machineLine(machine));
  const ms = ({ p50, p99 }: Row['pauseMs']) => `${p50} / ${p99}`;
  const head = [
    'load',
    'checkpoints/s',
    'pages',
    'pause p50 / p99 ms',
    'to received ms',
    'CPU ms P / S',
  ];
  const cells = rows.map(r => [
    ...[r.load, r.perSecond, r.pages, ms(r.pauseMs), ms(r.receivedMs)],
    `${r.cpuMs.primary} / ${r.cpuMs.secondary}`,
    ...[r.bytesPerDirtyByte, r.work, r.gapMsPerSecond],
  ]);
  console.log(table([...head, 'bytes/dirty', 'work', 'gaps ms/s'], cells));
}
