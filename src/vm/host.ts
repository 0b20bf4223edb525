/**
 * What a VM needs of the world: the ports of its host, the host's CPUs, and what the process says
 * of itself. Commands make one of the process, tests one of what they want the VM to see.
 */
import type { Accelerators } from '../accel/accelerators.js';
import type { Stdio } from '../chardev/contract.js';
import type { StepHook } from '../colo/steps.js';
import type { Host } from '../host/ports.js';

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
  readonly package: string;
}

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
  /** Called at each step of COLO. */
  readonly step: StepHook;
}
