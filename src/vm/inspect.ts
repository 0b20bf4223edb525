/** A look into the guest: registers, memory, page tables. */
import { type MappedPage, mappedPages } from '../accel/page-tables.js';
import { registerValue } from '../accel/registers.js';
import { VcpuImage } from '../accel/vcpu-image.js';
import { translate } from '../accel/walk.js';
import type { MachineControl } from '../machine/contract.js';

const PAGE_MASK = 0xfff;
/** The guest and everything on the main loop wait for the walk. */
const MAX_WALK_STEPS = 1 << 17;

/** What a guest shows while it stands still. */
export interface StoppedGuest {
  registers(cpu: number): string;
  /** Of CPU 0, 64 bits; undefined: no such register. */
  register(name: string): bigint | undefined;
  /** As CPU 0 sees it; undefined: not mapped, or not RAM. */
  virtualMemory(address: bigint, length: number): Buffer | undefined;
  /** Of CPU 0, ascending. undefined: paging is off. cut: there are more. */
  mappedPages(): { readonly pages: readonly MappedPage[]; readonly cut: boolean } | undefined;
}

/** threadId: of the host; undefined until the vCPU has one. */
export function cpus({ accel }: MachineControl) {
  const threads = accel.threadIds();
  return Array.from({ length: accel.cpuCount }, (_, index) => ({
    index,
    threadId: threads.at(index),
  }));
}

/** Stops the guest for as long as fn looks, if it runs. VmError if it does not stop. */
export const look = <T>(machine: MachineControl, fn: (guest: StoppedGuest) => T): Promise<T> =>
  machine.whileStopped(() => fn(stoppedGuest(machine)));

/** As it is now; undefined: not RAM. */
export const physicalMemory = ({ accel }: MachineControl, address: bigint, length: number) =>
  address <= BigInt(Number.MAX_SAFE_INTEGER) ? accel.ram.read(Number(address), length) : undefined;

function stoppedGuest({ accel }: MachineControl): StoppedGuest {
  const { ram } = accel;
  const cpu = new VcpuImage(accel.cpus[0].save());
  return {
    registers: index => accel.registers(index),
    register: name => registerValue(cpu, name),
    mappedPages: () => mappedPages(ram, cpu, MAX_WALK_STEPS),
    virtualMemory: (address, length) => {
      const parts: Buffer[] = [];
      for (let done = 0; done < length;) {
        const gva = BigInt.asUintN(64, address + BigInt(done));
        const size = Math.min(length - done, PAGE_MASK + 1 - Number(gva & BigInt(PAGE_MASK)));
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
