/** The CPUs of this host: which of them a guest gets, and the making of one. */
import { type AccelChoice, type AccelName, type AccelWish, chooseAccel } from './choose.js';
import type { CpuModel, VmAccel } from './contract.js';
import { AddonRam } from './ram.js';
import { AddonVm } from './vm.js';

export interface Accelerators {
  /** The host has /dev/kvm, of use or not. */
  readonly kvmPresent: boolean;
  /** VmError: what was asked for is not there. */
  choose(wish: AccelWish): AccelChoice;
  create(options: { name: AccelName; cpu: CpuModel; ramBytes: number }): VmAccel;
}

/** Those of the addon. */
export const addonAccelerators = (kvmPresent: boolean): Accelerators => ({
  kvmPresent,
  choose: wish => chooseAccel(wish),
  create: ({ name, cpu, ramBytes }) =>
    new AddonVm(new AddonRam(ramBytes), name, { cpu, dirtyRing: true }),
});
