/** What every benchmark says about where it ran, and the quantiles that it prints. */
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import Table from 'cli-table3';

export interface MachineNote {
  cpu: string;
  cores: number;
  memoryGiB: number;
  kernel: string;
  node: string;
  /** Of the last minute, when the benchmark began. */
  load: number;
}

export function machineNote(): MachineNote {
  const cpu = cpus()[0]?.model.trim() ?? 'unknown';
  return {
    cpu,
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    load: Number(loadavg()[0].toFixed(2)),
  };
}

export function machineLine(note: MachineNote): string {
  return (
    `Machine: ${note.cores} cores of ${note.cpu}, ${note.memoryGiB} GiB, Linux ${note.kernel}, ` +
    `Node ${note.node}, load ${note.load}`
  );
}

export const rounded = (value: number) => Number(value.toPrecision(3));

export interface Quantiles {
  p50: number;
  p90: number;
  p99: number;
}

export function quantiles(values: number[]): Quantiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number) =>
    rounded(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

export const median = (values: number[]) => quantiles(values).p50;

export function table(head: string[], rows: (string | number)[][]): string {
  const drawn = new Table({ head, style: { head: [], border: [] } });
  drawn.push(...rows.map(row => row.map(String)));
  return drawn.toString();
}
