/**
 * `npm run bench:cpu [-- --json] [--rounds 3] [--scale 100] [--cpu MODEL]`: the software CPU
 * against `qemu-system-x86_64 -accel tcg` and against the host itself, by the same program in the
 * same Linux guest (cpu/kernels.c). They take turns; a ratio is the median of those of the rounds.
 * Time is the vCPU thread's own CPU time, so that other work on the machine counts little. Nothing
 * here passes or fails.
 */
import { parseArgs } from 'node:util';
import { benchGuest } from './cpu/guest.js';
import { contestants, type Rates } from './cpu/contestants.js';
import { machineLine, machineNote, median, rounded, table } from './machine.js';

const args = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    scale: { type: 'string', default: '100' },
    cpu: { type: 'string', default: 'soft-v1' },
  },
}).values;
const machine = machineNote();
const guest = await benchGuest(line => process.stderr.write(`${line}\n`));
const runs: Record<string, Rates[]> = { soft: [], tcg: [], host: [] };
for (let round = 0; round < Number(args.rounds); round++) {
  for (const { name, run } of contestants) {
    if (!args.json) process.stderr.write(`round ${round + 1}: ${name}\n`);
    runs[name].push(await run(guest, { scale: args.scale, cpu: args.cpu }));
  }
}

const kernels = [...runs.soft[0].keys()];
const rates = (name: string, kernel: string) => runs[name].map(run => run.get(kernel)?.rate ?? NaN);
const ratio = (kernel: string, other: string) =>
  median(rates('soft', kernel).map((rate, i) => rate / rates(other, kernel)[i]));
const rows = kernels.map(kernel => ({
  kernel,
  unit: runs.soft[0].get(kernel)!.unit,
  soft: median(rates('soft', kernel)),
  tcg: median(rates('tcg', kernel)),
  host: median(rates('host', kernel)),
  ofTcg: ratio(kernel, 'tcg'),
  ofHost: rounded(ratio(kernel, 'host')),
}));
if (args.json) {
  console.log(JSON.stringify({ machine, cpu: args.cpu, rounds: Number(args.rounds), rows }));
} else {
  console.log(machineLine(machine));
  console.log(`Software CPU ${args.cpu}; TCG with -cpu qemu64; CPU time of the vCPU's thread`);
  const head = ['kernel', 'unit', 'soft', 'TCG', 'host', 'soft / TCG', 'soft / host'];
  console.log(
    table(
      head,
      rows.map(row => [row.kernel, row.unit, row.soft, row.tcg, row.host, row.ofTcg, row.ofHost]),
    ),
  );
}
