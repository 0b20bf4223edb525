/**
 * What the KVM tests share: the class of this host's KVM, a device that notes accesses, VMs that
 * are closed after the test, and moves between them.
 */
import { test } from '@jest/globals';
import { type AccelName, detectKvm } from '../../src/accel/choose.js';
import type { Topology } from '../../src/accel/contract.js';
import { type CpuChoice, defaultCpu, resolveCpu } from '../../src/accel/cpu-model.js';
import { AddonRam } from '../../src/accel/ram.js';
import { AddonVm } from '../../src/accel/vm.js';
import { heldPages } from '../support/held-pages.js';
import { Recorder } from '../support/recorder.js';
import { type Assembler, loadToyGuest } from '../support/toy-guest.js';

export const RAM_BYTES = 4 << 20;
export const kvm = detectKvm();

/**
 * A test that needs KVM to be at least so good; otherwise it is skipped, and its title says why.
 */
export function kvmTest(
  name: string,
  fn: () => void | Promise<void>,
  needs: 'interpreted' | 'full' = 'interpreted',
): void {
  const able = kvm.kind === 'full' || (kvm.kind === 'interpreted' && needs === 'interpreted');
  if (able) test(name, fn);
  else test.skip(`${name} [skipped: ${kvm.reason}]`, () => undefined);
}

export interface Rig {
  vm: AddonVm;
  bus: Recorder;
}

const open: AddonVm[] = [];

export interface RigOptions {
  topology?: Topology;
  cpu?: CpuChoice;
  dirtyRing?: boolean;
  ramBytes?: number;
  lockstep?: boolean;
}

export function emptyVm(
  accel: AccelName = 'kvm',
  {
    topology,
    cpu = defaultCpu,
    dirtyRing = false,
    ramBytes = RAM_BYTES,
    lockstep,
  }: RigOptions = {},
): Rig {
  const shape = topology && {
    sockets: topology.sockets,
    cores: topology.cores,
    threads: topology.threads,
  };
  const vm = new AddonVm(new AddonRam(ramBytes), accel, {
    cpu: resolveCpu(cpu, accel, shape),
    dirtyRing,
    mode: lockstep === true ? 'lockstep' : 'threaded',
  });
  const bus = new Recorder();
  vm.setExitHandler(bus);
  open.push(vm);
  return { vm, bus };
}

export function build(program: Assembler, accel: AccelName = 'kvm', options: RigOptions = {}): Rig {
  const rig = emptyVm(accel, options);
  loadToyGuest(rig.vm, program);
  return rig;
}

export function closeAll(): void {
  for (const vm of open.splice(0)) vm.dispose();
}

export const sleep = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));

/** RAM, chips, vCPUs and time of a stopped VM, into another; throws what check() says. */
export function move(from: AddonVm, to: AddonVm): void {
  const pages = heldPages(from.ram);
  const bytes = Buffer.alloc(pages.length * 4096);
  from.ram.gather(pages, bytes);
  to.ram.scatter(pages, bytes);
  const pairs = [[to.chips, from.chips], ...to.cpus.map((cpu, i) => [cpu, from.cpus[i]])] as const;
  for (const [target, source] of pairs) {
    const state = source.save();
    const wrong = target.check(state);
    if (wrong !== undefined) throw new Error(wrong);
    target.load(state);
  }
  to.continueClock(from.guestNs());
}
