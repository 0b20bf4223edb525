/**
 * `colo nbd serve` against qemu-nbd: one file each of the same content, fio's nbd engine as the
 * client of both.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { inTurns, type Row } from './rows.js';

const run = promisify(execFile);
const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const MiB = 1024 * 1024;
const FILE_MIB = 128;

const jobs = [
  ...[1, 16].flatMap(depth =>
    ['randread', 'randwrite'].map(rw => ({ rw, bs: '4k', depth, unit: 'IOPS' })),
  ),
  ...[1, 16].flatMap(depth =>
    ['read', 'write'].map(rw => ({ rw, bs: '1M', depth, unit: 'MiB/s' })),
  ),
];
type Job = (typeof jobs)[number];

export const nbdServerNeeds = ['qemu-nbd', 'fio'];

export async function nbdServerRows(
  dir: string,
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<Row[]> {
  await filledFile(join(dir, 'ours.img'));
  await copyFile(join(dir, 'ours.img'), join(dir, 'theirs.img'));
  const ours = await serving(
    process.execPath,
    [colo, 'nbd', 'serve', join(dir, 'ours.img'), '--format', 'raw', '--socket', join(dir, 'ours')],
    join(dir, 'ours'),
  );
  const theirs = await serving(
    'qemu-nbd',
    ['-t', '-e', '8', '-f', 'raw', '-k', join(dir, 'theirs'), join(dir, 'theirs.img')],
    join(dir, 'theirs'),
  );
  try {
    // page cache and just-in-time compiler are warm
    for (const server of ['ours', 'theirs']) await fio(dir, server, jobs[0], 1);
    const rows: Row[] = [];
    for (const job of jobs) {
      const pair = await inTurns(
        rounds,
        () => fio(dir, 'ours', job, seconds),
        () => fio(dir, 'theirs', job, seconds),
      );
      rows.push({
        name: `${job.rw} ${job.bs}, depth ${job.depth}`,
        unit: job.unit,
        ...pair,
        ratio: pair.ours / pair.theirs,
        target: '>= 1.0x',
      });
    }
    return rows;
  } finally {
    for (const server of [ours, theirs]) {
      server.kill('SIGTERM');
      if (server.exitCode === null) await once(server, 'exit');
    }
  }
}

async function filledFile(path: string): Promise<void> {
  const file = await open(path, 'w');
  for (let n = 0; n < FILE_MIB; n++) await file.write(randomBytes(MiB), 0, MiB, n * MiB);
  await file.close();
}

async function serving(program: string, args: string[], socket: string): Promise<ChildProcess> {
  const server = spawn(program, args, { stdio: 'ignore' });
  for (let tries = 0; !existsSync(socket); tries++) {
    if (tries > 200 || server.exitCode !== null) throw new Error(`${program} does not serve`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  return server;
}

async function fio(
  dir: string,
  server: string,
  { rw, bs, depth, unit }: Job,
  seconds: number,
): Promise<number> {
  const uri = `nbd+unix:///?socket=${join(dir, server)}`;
  const args = [
    '--name=j',
    '--ioengine=nbd',
    `--uri=${uri}`,
    `--rw=${rw}`,
    `--bs=${bs}`,
    `--iodepth=${depth}`,
    `--size=${FILE_MIB}M`,
    '--time_based',
    `--runtime=${seconds}`,
    '--randseed=1',
    '--output-format=json',
  ];
  const { stdout } = await run('fio', args, { cwd: dir, maxBuffer: 1 << 24 });
  const [job] = (
    JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { read: Side; write: Side }[] }
  ).jobs;
  const side = rw.endsWith('read') ? job.read : job.write;
  return unit === 'IOPS' ? side.iops : side.bw / 1024;
}

interface Side {
  iops: number;
  /** KiB/s. */
  bw: number;
}
