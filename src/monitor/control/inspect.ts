/** A look into the guest: registers, memory, page tables, devices. */
import { mappedPages } from '../../accel/page-tables.js';
import { registerValue } from '../../accel/registers.js';
import { VcpuImage } from '../../accel/vcpu-image.js';
import { translate } from '../../accel/walk.js';
import type { MachineControl } from '../../machine/contract.js';
import type { InspectControl, StoppedGuest } from '../vm.js';

const pageMask = 0xfff;
/** The guest and everything on the main loop wait for the walk. */
const maxWalkSteps = 1 << 17;

export function inspectControl(machine: MachineControl): InspectControl {
  const { ram, cpuCount } = machine.accel;
  return {
    cpus: () => {
      const threads = machine.accel.threadIds();
      return Array.from({ length: cpuCount }, (_, index) => ({ index, threadId: threads[index] }));
    },
    look: fn => machine.whileStopped(() => fn(stoppedGuest(machine))),
    physicalMemory: (address, length) =>
      address <= BigInt(Number.MAX_SAFE_INTEGER) ? ram.read(Number(address), length) : undefined,
    devices: () => machine.deviceInfo(),
    pci: () => machine.pciInfo(),
  };
}

function stoppedGuest({ accel }: MachineControl): StoppedGuest {
  const { ram } = accel;
  const cpu = new VcpuImage(accel.cpus[0].save());
  return {
    registers: index => accel.registers(index),
    register: name => registerValue(cpu, name),
    mappedPages: () => mappedPages(ram, cpu, maxWalkSteps),
    virtualMemory: (address, length) => {
      const parts: Buffer[] = [];
      for (let done = 0; done < length;) {
        const gva = BigInt.asUintN(64, address + BigInt(done));
        const size = Math.min(length - done, pageMask + 1 - Number(gva & BigInt(pageMask)));
        const gpa = translate(ram, cpu, gva);
        const bytes = gpa === undefined ? undefined : ram.read(Number(gpa), size);
        if (!bytes) return undefined;
        parts.push(bytes);
        done += size;
      }
      return Buffer.concat(parts);
    },
  };
}
