/**
 * `colo image convert` against `qemu-img convert`, raw to qcow2 and back: the two take turns on the
 * same files, the start of each program counts.
 */
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { inTurns, type Row } from './rows.js';

const run = promisify(execFile);
const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const MIB = 1024 * 1024;
const DATA_MIB = 512;

export const convertNeeds = ['qemu-img'];

export async function convertRows(dir: string, { rounds }: { rounds: number }): Promise<Row[]> {
  const at = (name: string) => join(dir, name);
  await makeRaw(at('raw'));
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', at('raw'), at('qcow2')]);
  const rows: Row[] = [];
  for (const [from, to] of [
    ['raw', 'qcow2'],
    ['qcow2', 'raw'],
  ]) {
    const convert = async (program: string, ...words: string[]) => {
      const startMs = performance.now();
      await run(program, [...words, 'convert', '-f', from, '-O', to, at(from), at('out')]);
      const tookMs = performance.now() - startMs;
      await run('qemu-img', ['compare', '-f', to, '-F', from, at('out'), at(from)]);
      await rm(at('out'));
      return tookMs;
    };
    const pair = await inTurns(
      rounds,
      () => convert(process.execPath, colo, 'image'),
      () => convert('qemu-img'),
    );
    rows.push({
      name: `convert ${from} to ${to}, ${DATA_MIB} MiB of data in ${4 * DATA_MIB}`,
      unit: 'ms',
      ...pair,
      ratio: pair.theirs / pair.ours,
      target: '>= 0.9x',
    });
  }
  return rows;
}

/** Data at the start of a disk four times as long. */
async function makeRaw(path: string): Promise<void> {
  const file = await open(path, 'w');
  const data = Buffer.alloc(MIB);
  for (let n = 0; n < DATA_MIB; n++) await file.write(randomFillSync(data), 0, MIB, n * MIB);
  await file.truncate(4 * DATA_MIB * MIB);
  await file.close();
}
