/** A look into the stopped guest: registers, memory, devices. */
import { registerValue } from '../../accel/registers.js';
import { VcpuImage } from '../../accel/vcpu-image.js';
import { translate } from '../../accel/walk.js';
import { VmError } from '../../base/errors.js';
import type { MachineControl } from '../../machine/contract.js';
import type { InspectControl } from '../vm.js';

const pageMask = 0xfff;

export function inspectControl(machine: MachineControl): InspectControl {
  const { ram, cpus } = machine.accel;
  const stoppedCpu = () => {
    if (machine.running) throw new VmError('the registers of a running vCPU cannot be read', { hint: 'Stop the VM first: stop.' });
    return new VcpuImage(cpus[0].save());
  };
  const physical = (address: bigint, length: number) => (address <= BigInt(Number.MAX_SAFE_INTEGER) ? ram.read(Number(address), length) : undefined);
  return {
    register: name => registerValue(stoppedCpu(), name),
    physicalMemory: physical,
    virtualMemory: (address, length) => {
      const cpu = stoppedCpu();
      const parts: Buffer[] = [];
      for (let done = 0; done < length; ) {
        const gva = BigInt.asUintN(64, address + BigInt(done));
        const size = Math.min(length - done, pageMask + 1 - Number(gva & BigInt(pageMask)));
        const gpa = translate(ram, cpu, gva);
        const bytes = gpa === undefined ? undefined : physical(gpa, size);
        if (!bytes) return undefined;
        parts.push(bytes);
        done += size;
      }
      return Buffer.concat(parts);
    },
    cpuCount: machine.accel.cpuCount,
    registers: async cpu => {
      if (machine.running) throw new VmError('the registers of a running vCPU cannot be read', { hint: 'Stop the VM first: stop.' });
      return machine.accel.registers(cpu);
    },
    devices: () => machine.deviceInfo(),
    pci: () => machine.pciInfo(),
  };
}
