/** Who runs the kernels of bench:cpu: the software CPU, QEMU's TCG, the host. */
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BenchGuest } from './guest.js';

export interface BenchOptions {
  /** Work in per cent. */
  readonly scale: string;
  /** -cpu of the software CPU. */
  readonly cpu: string;
}

/** By kernel, in the order in which they ran. */
export type Rates = ReadonlyMap<string, { readonly rate: number; readonly unit: string }>;

interface Contestant {
  readonly name: string;
  run(guest: BenchGuest, options: BenchOptions): Promise<Rates>;
}

/** quiet and without self tests: a boot is not what is measured. */
const append = (scale: string) =>
  `console=ttyS0 quiet cryptomgr.notests panic=-1 bench.scale=${scale}`;

const colo = fileURLToPath(new URL('../../../bin/run.js', import.meta.url));

export const contestants: readonly Contestant[] = [
  {
    name: 'soft',
    run: ({ kernel, initrd }, { scale, cpu }) =>
      measured(/^vcpu/, process.execPath, [
        ...[colo, 'primary', '-accel', 'soft', '-cpu', cpu, '-m', '256', '-serial', 'stdio'],
        ...['-display', 'none', '-monitor', 'none', '-no-reboot'],
        ...['-kernel', kernel, '-initrd', initrd, '-append', append(scale)],
      ]),
  },
  {
    name: 'tcg',
    run: ({ kernel, initrd }, { scale }) =>
      measured(/^CPU 0/, 'qemu-system-x86_64', [
        ...['-accel', 'tcg', '-cpu', 'qemu64', '-m', '256', '-serial', 'stdio'],
        ...['-display', 'none', '-monitor', 'none', '-no-reboot', '-nodefaults'],
        ...['-name', 'bench,debug-threads=on'],
        ...['-kernel', kernel, '-initrd', initrd, '-append', append(scale)],
      ]),
  },
  {
    name: 'host',
    run: ({ program }, { scale }) => measured(/^init/, program, [scale]),
  },
];

/** Nanoseconds that the threads of this name have had a processor. */
function cpuNs(pid: number, thread: RegExp): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks)
    .filter(tid => thread.test(readFileSync(`${tasks}/${tid}/comm`, 'utf8')))
    .map(tid => Number(readFileSync(`${tasks}/${tid}/schedstat`, 'utf8').split(' ')[0]))
    .reduce((sum, ns) => sum + ns, 0);
}

/** Runs a program and times what lies between its lines. */
async function measured(thread: RegExp, program: string, argv: string[]): Promise<Rates> {
  const child = spawn(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  const rates = new Map<string, { rate: number; unit: string }>();
  const ended = new Promise<string>(resolve => {
    child.once('error', error => resolve(error.message));
    child.once('close', code => resolve(`exit code ${code}`));
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  let began = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    said += `${line}\n`;
    const [, what, name, units, unit] =
      /BENCH (begin|end) (\w+)(?: (\S+) (.*\S))?/.exec(line) ?? [];
    if (what === 'begin') began = cpuNs(child.pid!, thread);
    if (what === 'end')
      rates.set(name, { rate: Number(units) / ((cpuNs(child.pid!, thread) - began) / 1e9), unit });
  }
  const why = await ended;
  if (rates.size > 0) return rates;
  throw new Error(`${program}: ${why}, and no kernel was run:\n${said.slice(-2000)}`);
}
