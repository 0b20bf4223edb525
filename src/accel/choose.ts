/** Which CPU runs the guest. */
import { VmError } from '../base/errors.js';
import { type KvmFinding, vmModule } from './addon.js';

export type AccelName = 'soft' | 'kvm';

/** What -accel takes, each in a sentence for people. */
export const accelerators = {
  auto: 'KVM where it really runs code, else the software CPU: the default',
  soft: 'the software CPU, on every host',
  kvm: "the host's processor by /dev/kvm; refused with the reason where that is no use",
} as const;
export type AccelWish = keyof typeof accelerators;

export interface AccelChoice {
  name: AccelName;
  /** For people. */
  why: string;
}

/** path, without: another device, and capabilities to be taken for absent, for tests. */
export function detectKvm(path?: string, without?: readonly string[]): KvmFinding {
  return vmModule().detectKvm(path, without);
}

/** auto takes KVM only where it really runs a kernel; kvm is refused where it does not. */
export function chooseAccel(
  wish: AccelWish,
  detect: () => KvmFinding = () => detectKvm(),
): AccelChoice {
  if (wish === 'soft') return { name: 'soft', why: 'as asked for' };
  const { kind, reason } = detect();
  if (kind === 'full') return { name: 'kvm', why: reason };
  const why = kind === 'none' ? reason : `/dev/kvm is no use: ${reason}`;
  if (wish === 'auto') return { name: 'soft', why };
  throw new VmError(`-accel kvm: ${why}`, { hint: '-accel soft runs everywhere.' });
}
