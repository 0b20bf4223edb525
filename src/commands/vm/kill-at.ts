/**
 * Fault injection for the chaos runs: with COLO_TEST=1, COLO_KILL_AT=STEP:N ends this process at
 * the N-th passing of a step, as kill -9 would.
 */
import { VmError } from '../../base/errors.js';
import { coloSteps, type StepHook } from '../../colo/steps.js';

export function killAt(env: Readonly<Record<string, string | undefined>>): StepHook {
  const wish = env['COLO_TEST'] === '1' ? env['COLO_KILL_AT'] : undefined;
  if (wish === undefined) return () => undefined;
  const match = /^([a-z-]+):([1-9][0-9]*)$/.exec(wish);
  const step = coloSteps.find(name => name === match?.[1]);
  if (!match || step === undefined)
    throw new VmError(`COLO_KILL_AT=${wish}: not STEP:N with a step of COLO`);
  let left = Number(match[2]);
  return passed => {
    if (passed === step && --left === 0) process.kill(process.pid, 'SIGKILL');
  };
}
