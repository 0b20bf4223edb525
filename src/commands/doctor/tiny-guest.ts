/**
 * Code run on the CPU that guests run on: three instructions in long mode that write a port and
 * halt.
 */
import type { ExitHandler } from '../../accel/contract.js';
import { AddonRam } from '../../accel/ram.js';
import { type VcpuSegment, VcpuImage } from '../../accel/vcpu-image.js';
import { SteppedVm } from '../../accel/vm.js';
import { VmError } from '../../base/errors.js';

const ramBytes = 1 << 20;
const entry = 0x1000;
/** Three page tables: the first 2 MiB at their own addresses. */
const tables = 0x4000;
const code64: VcpuSegment = {
  base: 0n,
  limit: 0xffffffff,
  selector: 8,
  type: 11,
  present: 1,
  dpl: 0,
  db: 0,
  s: 1,
  l: 1,
  g: 1,
  avl: 0,
  unusable: 0,
};
const data: VcpuSegment = { ...code64, selector: 16, type: 3, db: 1, l: 0 };
const port = 0x80;
const word = 0x2a;
/** mov al, word; out port, al; hlt */
const code = [0xb0, word, 0xe6, port, 0xf4];
const budget = 100;

/** Gives the number of instructions that ran. VmError: it did not do what it should. */
export function runTinyGuest(): bigint {
  const vm = new SteppedVm(new AddonRam(ramBytes));
  try {
    let seen = -1;
    const handler: ExitHandler = {
      pioRead: () => 0xff,
      pioWrite: (at, _size, value) => void (seen = at === port ? value : seen),
      mmioRead: () => 0n,
      mmioWrite: () => undefined,
    };
    vm.setExitHandler(handler);
    vm.ram.write(entry, Uint8Array.from(code));
    enterLongMode(vm);
    vm.start();
    const result = vm.runFor(budget);
    if (result !== 'halted' || seen !== word)
      throw new VmError(
        `the CPU did not do what a guest of three instructions says (${result}, port ${seen})`,
      );
    return vm.icount();
  } finally {
    vm.dispose();
  }
}

function enterLongMode(vm: SteppedVm): void {
  vm.ram.writeU64(tables, BigInt(tables + 0x1000) | 3n);
  vm.ram.writeU64(tables + 0x1000, BigInt(tables + 0x2000) | 3n);
  vm.ram.writeU64(tables + 0x2000, 0x83n);
  const image = new VcpuImage(vm.cpus[0].save());
  image.setReg('rip', BigInt(entry));
  image.setReg('rflags', 2n);
  image.setControl('cr0', 0x8000_0031n);
  image.setControl('cr3', BigInt(tables));
  image.setControl('cr4', 0x20n);
  image.setControl('efer', 0x500n);
  image.setSegment('cs', code64);
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) image.setSegment(name, data);
  vm.cpus[0].load(image.data);
}
