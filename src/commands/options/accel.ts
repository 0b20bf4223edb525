/** `-accel A[,lockstep=on]`, and `-machine TYPE,accel=A`. */
import { type AccelWish, accelerators } from '../../accel/choose.js';
import { VmError } from '../../base/errors.js';
import { asksForHelp, listOf } from '../../words/named.js';
import { bool, optional, parsed } from '../../words/types.js';
import { answerHelp, keyedOption, type VmOption } from './option.js';

const keyedAccel = keyedOption({
  name: 'accel',
  value: 'auto|soft|kvm[,lockstep=on|off]',
  summary:
    'what runs the guest; auto (default) takes KVM where it really runs code; -accel help. ' +
    'soft,lockstep=on: one thread runs all vCPUs in turns, and guest time is counted in ' +
    'instructions: the same state and the same inputs give the same run, for reports of bugs',
  implied: 'accel',
  keys: {
    accel: parsed('what runs the guest', 'auto, soft or kvm', accelerator),
    lockstep: optional(bool('soft: vCPUs take turns on one thread')),
  },
  take(draft, { accel, lockstep }) {
    draft.spec.accel = accel;
    draft.spec.lockstep = lockstep ?? false;
  },
});

export const accelOption: VmOption = {
  ...keyedAccel,
  take(draft, value, given) {
    answerHelp(asksForHelp(value) ? listOf('Accelerators:', accelerators) : undefined);
    keyedAccel.take(draft, value, given);
  },
};

export const enableKvmOption: VmOption = {
  name: 'enable-kvm',
  summary: 'same as -accel kvm',
  take({ spec }) {
    if (spec.accel === 'soft') throw new VmError('-accel soft says otherwise');
    spec.accel = 'kvm';
  },
};

export function accelerator(text: string): AccelWish {
  if (isAccelerator(text)) return text;
  throw new VmError(
    `'${text}' is not an accelerator of colo; it has ${Object.keys(accelerators).join(', ')}`,
    { hint: text === 'tcg' ? 'The software CPU is called soft.' : undefined },
  );
}

const isAccelerator = (text: string): text is AccelWish => Object.hasOwn(accelerators, text);
