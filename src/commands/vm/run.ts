/** Runs one VM in this process until it is over: signals, traces, exit code. */
import { VmError } from '../../base/errors.js';
import { monitorRegistry } from '../../monitor/commands/all.js';
import { openMonitors } from '../../monitor/open.js';
import { PairTeller } from '../../monitor/pair-teller.js';
import type { VmHost } from '../../vm/host.js';
import { TraceSwitches } from '../../vm/traces.js';
import { openVnc } from '../../vm/vnc.js';
import { Vm } from '../../vm/vm.js';
import { freeName, takeName } from '../names.js';
import type { Launch } from '../options/spec.js';
import { guestOf } from '../pair/guest.js';
import type { Pairing } from '../pair/pairing.js';
import { processTypist } from '../typist.js';
import { Guard } from './guard.js';
import { type ProcessHostOptions, processHost } from './host.js';
import { setMigrationGlobals } from './migration-globals.js';
import { takePidfile } from './pidfile.js';
import { daemonReady } from './process.js';

/** Disks and peers that do not answer must not keep a process that was told to end. */
const END_TIMEOUT_MS = 15_000;
const ALIVE_MS = 60_000;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const signalNumbers: Readonly<Record<(typeof signals)[number], number>> = {
  SIGINT: 2,
  SIGTERM: 15,
  SIGHUP: 1,
};

export interface RunOptions extends ProcessHostOptions {
  /** As note(), of what a monitor on the same terminal says too. */
  tell?(line: string): void;
  /** SIGHUP: undefined ends the VM like the others. */
  readonly reopenLog?: () => void;
  readonly pairing?: Pairing;
}

/** Gives the exit code: 0, or what the guest said through isa-debug-exit. */
export async function runVm(launch: Launch, options: RunOptions): Promise<number> {
  const {
    name,
    process: { pidfile },
  } = launch;
  const { note, pairing } = options;
  const host = processHost(options);
  const pid = pidfile === undefined ? undefined : takePidfile(pidfile);
  const named =
    name === undefined
      ? undefined
      : await takeName(name, { ...host, wallMs: () => host.clock.wallMs(), log: note });
  const free = () => {
    named?.dispose();
    if (name !== undefined && named) freeName(name);
  };
  const vm = await build(launch, host, options).catch((error: unknown) => {
    free();
    throw error;
  });
  const act = (error: VmError) => vm.internalError(error);
  const guard = new Guard({ clock: host.clock, note, act }).watch();
  named?.serve(vm, monitorRegistry);
  pid?.write();
  onSignals(() => vm.machine.quit('host-signal'), options.reopenLog);
  // A guest that stands still keeps nothing busy, and a VM ends when it is told to, not when nobody
  // is left to talk to it.
  const alive = setInterval(() => undefined, ALIVE_MS);
  const over = new AbortController();
  /** Also a VM that cannot be closed gives its name back. */
  const end = () =>
    vm.dispose().finally(() => {
      guard.dispose();
      free();
    });
  try {
    if (!pairing?.startsGuest) await Promise.race([vm.start(), vm.machine.ended]);
  } catch (error) {
    clearInterval(alive);
    await end();
    throw error;
  }
  daemonReady();
  void pairing?.join(vm, guestOf(vm), note, over.signal);
  const { status } = await vm.machine.ended;
  over.abort(new VmError('the VM is over'));
  clearInterval(alive);
  const late = setTimeout(() => {
    note(`not everything could be closed within ${END_TIMEOUT_MS / 1000} s`);
    process.exit(1);
  }, END_TIMEOUT_MS);
  await end().finally(() => clearTimeout(late));
  return status;
}

/** All that can fail before the guest runs, or nothing is left open. */
async function build(
  { spec, traces, migration, name }: Launch,
  host: VmHost,
  { note, tell = note, pairing }: RunOptions,
): Promise<Vm> {
  const switches = new TraceSwitches(note);
  for (const pattern of traces) switches.enable(pattern);
  await pairing?.prepare(host, note);
  const failover =
    name === undefined ? 'x_colo_lost_heartbeat' : (`colo failover ${name}` as const);
  const teller = new PairTeller(failover, tell);
  const vm = await Vm.build(spec, host, switches);
  try {
    vm.onPairChanged(() => teller.changed(vm));
    await openVnc(vm);
    openMonitors(vm, processTypist());
    // First: they say who may come.
    setMigrationGlobals(vm, migration);
    await vm.listen();
    await pairing?.expose(vm, note);
    return vm;
  } catch (error) {
    await vm.dispose();
    throw error;
  }
}

/**
 * The first signal ends in order, the second at once; SIGHUP only where there is no log to open
 * anew.
 */
export function onSignals(quit: () => void, reopenLog: (() => void) | undefined): void {
  let asked = false;
  for (const name of signals) {
    process.on(name, () => {
      if (name === 'SIGHUP' && reopenLog) return reopenLog();
      if (asked) process.exit(128 + signalNumbers[name]);
      asked = true;
      quit();
    });
  }
}
