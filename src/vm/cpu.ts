/** What the guest is to see of its processors, if this host can show it. */
import type { Accelerators } from '../accel/accelerators.js';
import type { AccelName } from '../accel/choose.js';
import type { CpuModel } from '../accel/contract.js';
import { defaultCpu, resolveCpu } from '../accel/cpu-model.js';
import type { MachineSpec } from '../machine/spec.js';

export interface ChosenCpu {
  readonly name: AccelName;
  readonly cpu: CpuModel;
}

export function chooseCpu(
  spec: MachineSpec,
  accelerators: Accelerators,
  note: (line: string) => void,
): ChosenCpu {
  const { name } = accelerators.choose(spec.accel);
  const topology = spec.topology ?? { sockets: 1, cores: spec.cpus, threads: 1 };
  const cpu = resolveCpu(spec.cpu ?? defaultCpu, name, topology);
  if (spec.accel === 'auto' && name === 'soft') note('CPU: soft; why not KVM: colo doctor');
  return { name, cpu };
}
