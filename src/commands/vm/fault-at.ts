/**
 * Mistakes of ours, made on purpose: with COLO_TEST=1, COLO_FAULT_AT=STEP:N:KIND makes one at the
 * N-th passing of a step of COLO.
 */
import { AssertionError, VmError } from '../../base/errors.js';
import { coloSteps, type StepHook } from '../../colo/steps.js';

const mistake = () => new AssertionError('a mistake made on purpose');

const kinds: Readonly<Record<string, () => void>> = {
  /** Where the step is. */
  throw: () => {
    throw mistake();
  },
  /** A promise that nobody waits for. */
  reject: () => void Promise.reject(mistake()),
  /** Turns of the main loop of their own. */
  storm: () => {
    for (let i = 0; i < 1000; i++) {
      setImmediate(() => {
        throw mistake();
      });
    }
  },
};

export function faultAt(env: Readonly<Record<string, string | undefined>>): StepHook {
  const wish = env['COLO_TEST'] === '1' ? env['COLO_FAULT_AT'] : undefined;
  if (wish === undefined) return () => undefined;
  const match = /^([a-z-]+):([1-9][0-9]*):([a-z]+)$/.exec(wish);
  const step = coloSteps.find(name => name === match?.[1]);
  const fault = match && Object.hasOwn(kinds, match[3]) ? kinds[match[3]] : undefined;
  if (!match || step === undefined || fault === undefined) {
    const known = Object.keys(kinds).join(', ');
    throw new VmError(`COLO_FAULT_AT=${wish}: not STEP:N:KIND with a step of COLO and ${known}`);
  }
  let left = Number(match[2]);
  return passed => {
    if (passed === step && --left === 0) fault();
  };
}
