/** Runs one VM in this process until it is over: signals, traces, exit code. */
import { nodeHost } from '../../host/node/host.js';
import { TraceSwitches } from '../../monitor/traces.js';
import type { VmControl } from '../../monitor/vm.js';
import { registryFor } from '../../monitor/commands/all.js';
import { freeName, takeName } from '../names.js';
import type { Launch } from '../options/spec.js';
import { processStdio } from '../terminal.js';
import { processTypist } from '../typist.js';
import { killAt } from './kill-at.js';
import { daemonReady, writePidfile } from './process.js';
import { RunningVm } from './running-vm.js';

/** Disks and peers that do not answer must not keep a process that was told to end. */
const endTimeoutMs = 15_000;
const aliveMs = 60_000;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const signalNumbers: Readonly<Record<(typeof signals)[number], number>> = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 };

/** Gives the exit code: 0, or what the guest said through isa-debug-exit. */
export async function runVm({ spec, name, traces, process: { pidfile } }: Launch, version: VmControl['version'], note: (line: string) => void): Promise<number> {
  const switches = new TraceSwitches(note);
  for (const pattern of traces) switches.enable(pattern);
  const host = nodeHost();
  const named = name === undefined ? undefined : await takeName(name, { ...host, wallMs: () => host.clock.wallMs(), log: note });
  const free = () => {
    named?.dispose();
    if (name !== undefined && named) freeName(name);
  };
  const vm = await RunningVm.build(spec, { host, stdio: processStdio(), typist: processTypist(), step: killAt(process.env), version, traces: switches, note }).catch((error: unknown) => {
    free();
    throw error;
  });
  named?.serve(vm.control, registryFor(vm.control));
  if (pidfile !== undefined) writePidfile(pidfile);
  onSignals(() => vm.machine.quit('host-signal'));
  // A guest that stands still keeps nothing busy, and a VM ends when it is told to, not when nobody is left to talk to it.
  const alive = setInterval(() => undefined, aliveMs);
  vm.start();
  daemonReady();
  const { status } = await vm.machine.ended;
  clearInterval(alive);
  const late = setTimeout(() => {
    note(`not everything could be closed within ${endTimeoutMs / 1000} s`);
    process.exit(1);
  }, endTimeoutMs);
  await vm.dispose();
  free();
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
