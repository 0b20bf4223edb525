/** The world of a VM that is this process: its host, its terminal, its log. */
import { existsSync } from 'node:fs';
import { addonAccelerators } from '../../accel/accelerators.js';
import type { StepHook } from '../../colo/steps.js';
import { nodeHost } from '../../host/node/host.js';
import { defaultLimits, type Version, type VmHost } from '../../vm/host.js';
import { processStdio } from '../terminal.js';
import { faultAt } from './fault-at.js';
import { killAt } from './kill-at.js';

export interface ProcessHostOptions {
  readonly version: Version;
  /** A line for people. */
  note(line: string): void;
  /** Lines go into this file from now on. */
  logInto(path: string): void;
}

export function processHost({ version, note, logInto }: ProcessHostOptions): VmHost {
  return {
    ...nodeHost(),
    accelerators: addonAccelerators(existsSync('/dev/kvm')),
    stdio: processStdio(),
    process: { pid: process.pid, version, logInto },
    note,
    limits: defaultLimits,
    step: stepHook(process.env),
  };
}

function stepHook(env: NodeJS.ProcessEnv): StepHook {
  const [kill, fault] = [killAt(env), faultAt(env)];
  return step => {
    kill(step);
    fault(step);
  };
}
