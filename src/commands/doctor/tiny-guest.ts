/**
 * Code run on the CPU that guests run on: three instructions in long mode that write a port and
 * halt.
 */
import type { ExitHandler } from '../../accel/contract.js';
import { AddonRam } from '../../accel/ram.js';
import { type VcpuSegment, VcpuImage } from '../../accel/vcpu-image.js';
import { SteppedVm } from '../../accel/vm.js';
import { VmError } from '../../base/errors.js';

const RAM_BYTES = 1 << 20;
const ENTRY_GPA = 0x1000;
/** Three page tables: the first 2 MiB at their own addresses. */
const TABLES_GPA = 0x4000;
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
const PORT = 0x80;
const WORD = 0x2a;
/** mov al, WORD; out PORT, al; hlt */
const code = [0xb0, WORD, 0xe6, PORT, 0xf4];
const BUDGET = 100;

/** Gives the number of instructions that ran. VmError: it did not do what it should. */
export function runTinyGuest(): bigint {
  const vm = new SteppedVm(new AddonRam(RAM_BYTES));
  try {
    let seen = -1;
    const handler: ExitHandler = {
      pioRead: () => 0xff,
      pioWrite: (at, _size, value) => void (seen = at === PORT ? value : seen),
      mmioRead: () => 0n,
      mmioWrite: () => undefined,
    };
    vm.setExitHandler(handler);
    vm.ram.write(ENTRY_GPA, Uint8Array.from(code));
    enterLongMode(vm);
    vm.start();
    const result = vm.runFor(BUDGET);
    if (result !== 'halted' || seen !== WORD)
      throw new VmError(
        `the CPU did not do what a guest of three instructions says (${result}, port ${seen})`,
      );
    return vm.icount();
  } finally {
    vm.dispose();
  }
}

function enterLongMode(vm: SteppedVm): void {
  vm.ram.writeU64(TABLES_GPA, BigInt(TABLES_GPA + 0x1000) | 3n);
  vm.ram.writeU64(TABLES_GPA + 0x1000, BigInt(TABLES_GPA + 0x2000) | 3n);
  vm.ram.writeU64(TABLES_GPA + 0x2000, 0x83n);
  const image = new VcpuImage(vm.cpus[0].save());
  image.setReg('rip', BigInt(ENTRY_GPA));
  image.setReg('rflags', 2n);
  image.setControl('cr0', 0x8000_0031n);
  image.setControl('cr3', BigInt(TABLES_GPA));
  image.setControl('cr4', 0x20n);
  image.setControl('efer', 0x500n);
  image.setSegment('cs', code64);
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) image.setSegment(name, data);
  vm.cpus[0].load(image.data);
}
