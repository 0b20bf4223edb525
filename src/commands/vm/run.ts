/** Runs one VM in this process until it is over: signals, traces, exit code. */
import { VmError } from '../../base/errors.js';
import { nodeHost } from '../../host/node/host.js';
import type { StepHook } from '../../colo/steps.js';
import type { Host } from '../../host/ports.js';
import { TraceSwitches } from '../../monitor/traces.js';
import type { VmControl } from '../../monitor/vm.js';
import { registryFor } from '../../monitor/commands/all.js';
import { freeName, takeName } from '../names.js';
import type { Launch } from '../options/spec.js';
import type { Pairing } from '../pair/pairing.js';
import { processStdio } from '../terminal.js';
import { processTypist } from '../typist.js';
import { faultAt } from './fault-at.js';
import { Guard } from './guard.js';
import { killAt } from './kill-at.js';
import { setMigrationGlobals } from './migration-globals.js';
import { PairTeller } from './pair-teller.js';
import { takePidfile } from './pidfile.js';
import { daemonReady } from './process.js';
import { RunningVm } from './running-vm.js';

/** Disks and peers that do not answer must not keep a process that was told to end. */
const endTimeoutMs = 15_000;
const aliveMs = 60_000;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const signalNumbers: Readonly<Record<(typeof signals)[number], number>> = {
  SIGINT: 2,
  SIGTERM: 15,
  SIGHUP: 1,
};

export interface RunWorld {
  readonly version: VmControl['version'];
  /** A line for people. */
  note(line: string): void;
  /** The same, of what a monitor on the same terminal says too. */
  tell?(line: string): void;
  /** SIGHUP: undefined ends the VM like the others. */
  readonly reopenLog?: () => void;
  /** Lines go into this file from now on. */
  logInto(path: string): void;
  readonly pairing?: Pairing;
}

/** Gives the exit code: 0, or what the guest said through isa-debug-exit. */
export async function runVm(launch: Launch, world: RunWorld): Promise<number> {
  const {
    name,
    process: { pidfile },
  } = launch;
  const { note, pairing } = world;
  const host = nodeHost();
  const pid = pidfile === undefined ? undefined : takePidfile(pidfile);
  const named =
    name === undefined
      ? undefined
      : await takeName(name, { ...host, wallMs: () => host.clock.wallMs(), log: note });
  const free = () => {
    named?.dispose();
    if (name !== undefined && named) freeName(name);
  };
  const vm = await build(launch, host, world).catch((error: unknown) => {
    free();
    throw error;
  });
  const act = (error: VmError) => vm.internalError(error);
  const guard = new Guard({ clock: host.clock, note, act }).watch();
  named?.serve(vm.control, registryFor(vm.control));
  pid?.write();
  onSignals(() => vm.machine.quit('host-signal'), world.reopenLog);
  // A guest that stands still keeps nothing busy, and a VM ends when it is told to, not when nobody
  // is left to talk to it.
  const alive = setInterval(() => undefined, aliveMs);
  const over = new AbortController();
  try {
    if (!pairing?.startsGuest) await Promise.race([vm.start(), vm.machine.ended]);
  } catch (error) {
    clearInterval(alive);
    await vm.dispose();
    guard.dispose();
    free();
    throw error;
  }
  daemonReady();
  void pairing?.join(vm.control, vm.guest, note, over.signal);
  const { status } = await vm.machine.ended;
  over.abort(new VmError('the VM is over'));
  clearInterval(alive);
  const late = setTimeout(() => {
    note(`not everything could be closed within ${endTimeoutMs / 1000} s`);
    process.exit(1);
  }, endTimeoutMs);
  await vm.dispose();
  guard.dispose();
  free();
  clearTimeout(late);
  return status;
}

/** All that can fail before the guest runs, or nothing is left open. */
async function build(launch: Launch, host: Host, world: RunWorld): Promise<RunningVm> {
  const { spec, traces, migration, name } = launch;
  const { version, note, logInto, pairing } = world;
  const switches = new TraceSwitches(note);
  for (const pattern of traces) switches.enable(pattern);
  await pairing?.prepare(host, note);
  const failover =
    name === undefined ? 'x_colo_lost_heartbeat' : (`colo failover ${name}` as const);
  const teller = new PairTeller(failover, line => (world.tell ?? note)(line));
  const vm = await RunningVm.build(spec, {
    host,
    stdio: processStdio(),
    typist: processTypist(),
    step: stepHook(process.env),
    version,
    traces: switches,
    note,
    logInto,
    pairChanged: control => teller.changed(control),
  });
  try {
    await setMigrationGlobals(vm.control, migration);
    await pairing?.expose(vm.control, note);
    return vm;
  } catch (error) {
    await vm.dispose();
    throw error;
  }
}

function stepHook(env: NodeJS.ProcessEnv): StepHook {
  const [kill, fault] = [killAt(env), faultAt(env)];
  return step => {
    kill(step);
    fault(step);
  };
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
