/**
 * `colo image convert` against `qemu-img convert`, raw to qcow2 and back: the two take turns on the same files; medians and their ratio (over
 * 1: we are faster). Alone: `node --import tsx test/bench/block/convert.ts [MIB] [ROUNDS]`, after a build.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { randomFillSync } from 'node:crypto';
import { fileURLToPath } from 'node:url';

const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));
const MIB = 1024 * 1024;

export interface ConvertResult {
  readonly what: string;
  readonly coloMs: number;
  readonly qemuMs: number;
  /** qemuMs / coloMs */
  readonly ratio: number;
}

function timed(program: string, args: string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return performance.now() - start;
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** So many MiB of data at the start of a disk four times as long. */
function makeRaw(path: string, mib: number): void {
  const fd = openSync(path, 'w');
  const data = Buffer.alloc(MIB);
  for (let n = 0; n < mib; n++) writeSync(fd, randomFillSync(data), 0, MIB, n * MIB);
  ftruncateSync(fd, 4 * mib * MIB);
  closeSync(fd);
}

export function benchConvert(mib = 256, rounds = 5): ConvertResult[] {
  const dir = mkdtempSync(join(tmpdir(), 'colo-convert-'));
  const at = (name: string) => join(dir, name);
  try {
    makeRaw(at('raw'), mib);
    timed('qemu-img', ['convert', '-O', 'qcow2', at('raw'), at('qcow2')]);
    return (['raw', 'qcow2'] as const).map(from => {
      const to = from === 'raw' ? 'qcow2' : 'raw';
      const args = ['convert', '-f', from, '-O', to, at(from), at('out')];
      const theirs: number[] = [];
      const ours: number[] = [];
      for (let n = 0; n < rounds; n++) {
        theirs.push(timed('qemu-img', args));
        ours.push(timed(process.execPath, [colo, 'image', ...args]));
        if (spawnSync('qemu-img', ['compare', '-F', from, '-f', to, at('out'), at(from)]).status !== 0) throw new Error('the copy differs');
      }
      const [coloMs, qemuMs] = [median(ours), median(theirs)];
      return { what: `${from} -> ${to}, ${mib} MiB of data in ${4 * mib}`, coloMs, qemuMs, ratio: qemuMs / coloMs };
    });
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [mib, rounds] = process.argv.slice(2).map(Number);
  for (const { what, coloMs, qemuMs, ratio } of benchConvert(mib, rounds)) process.stdout.write(`${what}: colo ${coloMs.toFixed(0)} ms, qemu-img ${qemuMs.toFixed(0)} ms, ratio ${ratio.toFixed(2)}\n`);
  process.stdout.write(`${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, load ${loadavg()[0].toFixed(1)}\n`);
}
