/**
 * Goal: info registers, cpus, mem and tlb show the guest as it is, also one that runs, and whatever
 * its page tables say. Method: a real vCPU that stands still in a program of the test (skipped by
 * name where the addon is not built); the control over it.
 */
import { existsSync } from 'node:fs';
import { AddonRam } from '../../../src/accel/ram.js';
import { VcpuImage } from '../../../src/accel/vcpu-image.js';
import { SteppedVm } from '../../../src/accel/vm.js';
import type { Machine } from '../../../src/machine/machine.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { HmpShell } from '../../../src/monitor/hmp/shell.js';
import { rememberingVm } from '../../support/remembering-vm.js';
import { Assembler, loadToyGuest } from '../../support/toy-guest.js';

const built = existsSync(new URL('../../../native/build/Release/colo.node', import.meta.url));
const withAddon = built ? test : test.skip;

let guest: SteppedVm;
let looks = 0;
let threads = [77];

function shell() {
  const machine = {
    accel: Object.assign(guest, { threadIds: () => threads }),
    whileStopped: async <T>(fn: () => T) => (looks++, fn()),
  } as unknown as Machine;
  const vm = Object.assign(rememberingVm(), { machine });
  return new HmpShell(monitorRegistry, vm, false);
}

const change = (fn: (cpu: VcpuImage) => void) => {
  const cpu = new VcpuImage(guest.cpus[0].save());
  fn(cpu);
  guest.cpus[0].load(cpu.data);
};

/** Out of long mode. */
function legacy(cpu: VcpuImage): void {
  cpu.setControl('efer', 0n);
  cpu.setSegment('cs', { ...cpu.segment('cs'), l: 0, db: 1 });
}

beforeEach(() => {
  if (!built) return;
  looks = 0;
  guest = new SteppedVm(new AddonRam(8 << 20));
  loadToyGuest(guest, new Assembler(0x10_0000).hlt());
});
afterEach(() => built && guest.dispose());

withAddon(
  'info registers: each vCPU under its number; what changes is seen (skipped where the addon ' +
    'is not built)',
  async () => {
    const before = await shell().run('info registers');
    expect(before).toMatch(/^\nCPU#0\nRAX=0000000000000000 /);
    expect(before).toContain('\nFCW=');
    change(cpu => cpu.setReg('rax', 0x1234n));
    expect(await shell().run('info registers -a')).toMatch(/^\nCPU#0\nRAX=0000000000001234 /);
    expect(looks).toBe(2);
    expect(await shell().run('info registers 1')).toBe(
      'Error: CPU not available\nThis machine has CPU 0.\n',
    );
    expect(await shell().run('p $rax')).toBe('0x1234\n');
  },
);

withAddon('x reads as the vCPU sees it (skipped where the addon is not built)', async () => {
  guest.ram.writeU32(0x30_0000, 0xdeadbeef);
  expect(await shell().run('x/1xw 0x300000')).toBe('0000000000300000: 0xdeadbeef\n');
  expect(await shell().run('xp/1xw 0x300000')).toBe('0000000000300000: 0xdeadbeef\n');
  expect(looks).toBe(1); // physical memory is there while the guest runs
  change(cpu => cpu.setReg('rsp', 0x30_0000n));
  expect(await shell().run('xp/1xw $rsp')).toBe('0000000000300000: 0xdeadbeef\n');
  expect(await shell().run('x 0x100000000')).toBe('Error: Cannot access memory at 0x100000000\n');
});

withAddon('info cpus: the host thread of each (skipped where the addon is not built)', async () => {
  expect(await shell().run('info cpus')).toBe('* CPU #0: thread_id=77\n');
  threads = [];
  expect(await shell().run('info cpus')).toBe('* CPU #0: thread_id=none\n');
});

withAddon(
  'info mem joins neighbours of equal rights, info tlb shows each page (skipped where the ' +
    'addon is not built)',
  async () => {
    expect(await shell().run('info mem')).toBe(
      '0000000000000000-0000000100000000 0000000100000000 -rw\n',
    );
    // 2 MiB at 4 MiB: read only for users, on every level.
    for (const at of [0x3000, 0x4000]) guest.ram.writeU64(at, guest.ram.readU64(at)! | 4n);
    guest.ram.writeU64(0x5000 + 16, 0x60_0085n);
    expect(await shell().run('info mem')).toBe(
      [
        '0000000000000000-0000000000400000 0000000000400000 -rw',
        '0000000000400000-0000000000600000 0000000000200000 ur-',
        '0000000000600000-0000000100000000 00000000ffa00000 -rw',
        '',
      ].join('\n'),
    );
    const pages = (await shell().run('info tlb')).split('\n');
    expect(pages.slice(1, 3)).toEqual([
      '0000000000200000: 0000000000200000 --P-----W',
      '0000000000400000: 0000000000600000 --P----U-',
    ]);
    expect(pages).toHaveLength(2048 + 1);
    change(cpu => {
      legacy(cpu);
      cpu.setControl('cr0', 1n);
    });
    expect(await shell().run('info mem')).toBe('PG disabled\n');
  },
);

withAddon(
  'upper half, 4 KiB pages, no-execute (skipped where the addon is not built)',
  async () => {
    const [table, directory, pointers] = [0x20_0000, 0x20_1000, 0x20_2000];
    guest.ram.writeU64(0x3000 + 511 * 8, BigInt(pointers) | 3n);
    guest.ram.writeU64(pointers + 510 * 8, BigInt(directory) | 3n);
    guest.ram.writeU64(directory, BigInt(table) | 1n); // read only from here down
    guest.ram.writeU64(table + 8, 0x8000_0000_0010_0123n);
    expect((await shell().run('info mem')).split('\n')[1]).toBe(
      'ffffffff80001000-ffffffff80002000 0000000000001000 -r-',
    );
    expect((await shell().run('info tlb')).split('\n').at(-2)).toBe(
      'ffffffff80001000: 0000000000100000 XG--A---W',
    );
  },
);

withAddon(
  'page tables that are tied in knots end the walk, and the answer is bounded (skipped where ' +
    'the addon is not built)',
  async () => {
    for (let i = 0; i < 512; i++)
      guest.ram.writeU64(0x3000 + i * 8, 0x3000n | 3n | (i % 2 === 0 ? 0n : 4n));
    for (const line of ['info mem', 'info tlb']) {
      const text = await shell().run(line);
      expect(text.length).toBeLessThan(1 << 20);
      expect(text).toMatch(/\(cut off after \d+ lines\)\n$/);
    }
  },
);

withAddon(
  '32-bit tables, with and without PAE (skipped where the addon is not built)',
  async () => {
    change(cpu => {
      legacy(cpu);
      cpu.setControl('cr4', 0n);
      cpu.setControl('cr3', 0x20_0000n);
    });
    guest.ram.writeU32(0x20_0000, 0x83);
    guest.ram.writeU32(0x20_0000 + 4, 0x20_1007);
    guest.ram.writeU32(0x20_1000 + 8, 0x30_5005);
    expect(await shell().run('info mem')).toBe(
      '0000000000000000-0000000000400000 0000000000400000 ' +
        '-rw\n0000000000402000-0000000000403000 0000000000001000 ur-\n',
    );
    change(cpu => cpu.setControl('cr4', 0x20n));
    guest.ram.writeU64(0x20_0000, 0x20_2001n);
    guest.ram.writeU64(0x20_0008, 0n);
    guest.ram.writeU64(0x20_2000 + 8, 0x40_00e7n);
    expect(await shell().run('info tlb')).toBe('0000000000200000: 0000000000400000 --PDA--UW\n');
  },
);
