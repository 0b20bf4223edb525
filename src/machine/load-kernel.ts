/** The kernel of -kernel: entered at once, or, where -bios says so, by firmware. */
import { asVmError, VmError } from '../base/errors.js';
import type { Files } from '../host/ports.js';
import { isElf } from './loader/elf.js';
import { type LoadPlan, planLinux } from './loader/linux.js';
import { type FirmwareKernel, planFirmwareKernel } from './loader/linux-firmware.js';
import { Low } from './loader/memory-map.js';
import { isMultiboot, planMultiboot } from './loader/multiboot.js';
import type { MachineSpec } from './spec.js';

/** One of them, or none. */
export interface KernelPlan {
  readonly plan?: LoadPlan;
  readonly kernel?: FirmwareKernel;
}

/** VmError: a file that cannot be read, or is none of what it is to be. */
export async function loadKernel(
  spec: MachineSpec,
  { files }: { files: Pick<Files, 'readFile'> },
): Promise<KernelPlan> {
  if (spec.kernel === undefined) return {};
  const file = async (option: string, path: string) => {
    try {
      return { path, bytes: await files.readFile(path) };
    } catch (error) {
      throw asVmError(error).during(`${option} ${path}`);
    }
  };
  const kernel = await file('-kernel', spec.kernel);
  const initrd = spec.initrd === undefined ? undefined : await file('-initrd', spec.initrd);
  const image = { kernel, initrd, append: spec.append, ramBytes: spec.ramBytes };
  const multiboot = isMultiboot(kernel.bytes);
  if (spec.bios === undefined)
    return { plan: (multiboot ? planMultiboot : planLinux)({ ...image, rsdp: Low.ACPI }) };
  if (multiboot || isElf(kernel.bytes))
    throw new VmError(`-kernel ${kernel.path} with -bios: firmware starts a bzImage`, {
      hint: 'Leave -bios out: colo enters other kernels itself.',
    });
  return { kernel: planFirmwareKernel(image) };
}
