/** Runs one VM in this process until it is over: signals, traces, exit code. */
import { onTrace } from '../../base/trace.js';
import { nodeHost } from '../../host/node/host.js';
import type { VmControl } from '../../monitor/vm.js';
import type { Launch } from '../options/spec.js';
import { processStdio } from '../terminal.js';
import { killAt } from './kill-at.js';
import { RunningVm } from './running-vm.js';

/** Disks and peers that do not answer must not keep a process that was told to end. */
const endTimeoutMs = 15_000;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const signalNumbers: Readonly<Record<(typeof signals)[number], number>> = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };

/** Gives the exit code: 0, or what the guest said through isa-debug-exit. */
export async function runVm({ spec, traces }: Launch, version: VmControl['version'], note: (line: string) => void): Promise<number> {
  for (const pattern of traces) onTrace(pattern, ({ name, fields }) => note(`${name} ${Object.entries(fields).map(([key, value]) => `${key}=${value}`).join(' ')}`));
  const vm = await RunningVm.build(spec, { host: nodeHost(), stdio: processStdio(), step: killAt(process.env), version, note });
  onSignals(() => vm.machine.quit('host-signal'));
  vm.start();
  const { status } = await vm.machine.ended;
  const late = setTimeout(() => {
    note(`not everything could be closed within ${endTimeoutMs / 1000} s`);
    process.exit(1);
  }, endTimeoutMs);
  await vm.dispose();
  clearTimeout(late);
  return status;
}

/** The first signal ends in order, the second at once. */
function onSignals(quit: () => void): void {
  let asked = false;
  for (const name of signals) {
    process.on(name, () => {
      if (asked) process.exit(128 + signalNumbers[name]);
      asked = true;
      quit();
    });
  }
}
