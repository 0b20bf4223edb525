/** The CPUs of this host: which of them a guest gets, and the making of one. */
import { type AccelChoice, type AccelName, type AccelWish, chooseAccel } from './choose.js';
import type { CpuModel, VmAccel } from './contract.js';
import { AddonRam } from './ram.js';
import { AddonVm } from './vm.js';

export interface AccelOptions {
  readonly name: AccelName;
  readonly cpu: CpuModel;
  readonly ramBytes: number;
  readonly romBytes: number;
  readonly videoBytes: number;
  /** Its vCPUs take turns on one thread. */
  readonly lockstep: boolean;
}

export interface Accelerators {
  /** The host has /dev/kvm, of use or not. */
  readonly kvmPresent: boolean;
  /** VmError: what was asked for is not there. */
  choose(wish: AccelWish): AccelChoice;
  create(options: AccelOptions): VmAccel;
}

/** Those of the addon. */
export const addonAccelerators = (kvmPresent: boolean): Accelerators => ({
  kvmPresent,
  choose: wish => chooseAccel(wish),
  create: ({ name, cpu, ramBytes, romBytes, videoBytes, lockstep }) =>
    new AddonVm(new AddonRam(ramBytes, romBytes, videoBytes), name, {
      cpu,
      dirtyRing: true,
      mode: lockstep ? 'lockstep' : 'threaded',
    }),
});
