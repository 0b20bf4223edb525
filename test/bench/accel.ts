/**
 * `npm run bench:accel [-- --json] [--accel soft]`: what a CPU backend costs, on every backend that
 * this machine has, in one run. Nothing here passes or fails: a figure that misses its target is
 * marked. An interpreted KVM is left out: it says nothing about hardware.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type AccelName, detectKvm } from '../../src/accel/choose.js';
import { figuresOf, memoryFigures } from './accel/figures.js';
import { machineLine, machineNote, table } from './machine.js';

/**
 * What a figure is to stay below; judged on the software CPU, and on a KVM whose host is no guest
 * itself.
 */
const targets: Readonly<Record<string, { unit: string; below?: number }>> = {
  exitUs: { unit: 'us', below: 12 },
  exitFarUs: { unit: 'us' },
  doorbellUs: { unit: 'us', below: 8 },
  doorbellFarUs: { unit: 'us' },
  interruptHaltedUs: { unit: 'us' },
  interruptRunningUs: { unit: 'us' },
  kickUs: { unit: 'us' },
  kickAllUs: { unit: 'us' },
  harvestMs: { unit: 'ms', below: 12 },
  saveUs: { unit: 'us' },
  loadUs: { unit: 'us' },
};

const args = parseArgs({
  options: { json: { type: 'boolean', default: false }, accel: { type: 'string' } },
}).values;
const machine = machineNote();
const nested = /^flags\b.*\bhypervisor\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
const kvm = detectKvm();
const there: AccelName[] = kvm.kind === 'full' ? ['soft', 'kvm'] : ['soft'];
const backends = there.filter(name => args.accel === undefined || args.accel === name);
if (backends.length === 0) {
  console.error(
    `bench:accel: --accel ${args.accel}: not to be had here (soft always; kvm: ${kvm.reason})`,
  );
  process.exit(2);
}

const figures: Record<string, Awaited<ReturnType<typeof figuresOf>>> = {};
for (const accel of backends) {
  if (!args.json && process.stderr.isTTY) process.stderr.write(`measuring ${accel} ...\n`);
  figures[accel] = await figuresOf(
    accel,
    accel === 'kvm' ? Math.max(2, Math.min(8, machine.cores)) : 1,
  ); // the software CPU has one
}
const memory = memoryFigures();

if (args.json) {
  console.log(JSON.stringify({ machine, kvm, nested, figures, memory }));
} else {
  console.log(machineLine(machine));
  console.log(`KVM: ${kvm.kind}: ${kvm.reason}`);
  const rows = Object.entries(targets).flatMap(([name, { unit, below }]) =>
    backends
      .filter(accel => name in figures[accel].timed)
      .map(accel => {
        const { p50, p90, p99 } = figures[accel].timed[name];
        const verdict =
          accel === 'kvm' && nested
            ? 'nested, not judged'
            : p50 < (below ?? Infinity)
              ? 'met'
              : 'MISSED';
        const judged = below === undefined ? '' : `${verdict} (< ${below} ${unit})`;
        return [name, accel, `${p50} ${unit}`, `${p90} ${unit}`, `${p99} ${unit}`, judged];
      }),
  );
  console.log(table(['figure', 'CPU', 'p50', 'p90', 'p99', 'target for p50'], rows));
  for (const accel of backends)
    console.log(
      `${accel}: ${figures[accel].guestMips} MIPS in a plain loop, ${figures[accel].cpus} vCPU`,
    );
  console.log(
    `memory: ${Object.entries(memory)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
  );
}
