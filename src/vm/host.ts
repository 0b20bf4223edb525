/**
 * What a VM needs of the world: the ports of its host, the host's CPUs, and what the process says
 * of itself. Commands make one of the process, tests one of what they want the VM to see.
 */
import type { ArbiterAddress } from '../arbiter/address.js';
import type { Arbiter } from '../arbiter/contract.js';
import type { Accelerators } from '../accel/accelerators.js';
import type { Stdio } from '../chardev/contract.js';
import { type ColoOptions, defaultColoOptions } from '../colo/options.js';
import type { StepHook } from '../colo/steps.js';
import type { Host } from '../host/ports.js';
import { STOP_LIMIT_MS } from '../machine/execution.js';
import { defaultOutputHoldLimits, type OutputHoldLimits } from '../net/filter/output-hold.js';

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly package: string;
}

/** What a VM waits for and holds at most. */
export interface VmLimits {
  /** A disk or a vCPU that does not stop within this time has the checkpoint fail, not the VM. */
  readonly stopMs: number;
  /** What each netdev holds back of the guest's output. */
  readonly heldOutput: OutputHoldLimits;
  /** As COLO begins with them; migrate-set-parameters changes some of them in one VM. */
  readonly colo: ColoOptions;
}

export const defaultLimits: VmLimits = {
  stopMs: STOP_LIMIT_MS,
  heldOutput: defaultOutputHoldLimits,
  colo: defaultColoOptions,
};

export interface VmHost extends Host {
  readonly accelerators: Accelerators;
  readonly stdio: Stdio;
  /** The process that the VM runs in. */
  readonly process: {
    readonly pid: number;
    readonly version: Version;
    /** Log lines go into this file from now on. */
    logInto(path: string): void;
  };
  /** A line for people. */
  note(line: string): void;
  readonly limits: VmLimits;
  /** Called at each step of COLO. */
  readonly step: StepHook;
  /** undefined: an arbiter is reached by the ports. */
  readonly openArbiter?: ((address: ArbiterAddress) => Promise<Arbiter>) | undefined;
}
