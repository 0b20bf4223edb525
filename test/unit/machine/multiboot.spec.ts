/**
 * Goal: a Multiboot kernel is placed as its headers say and entered as the specification has it;
 * one that cannot be is refused by name. Method: files made by hand, and one that runs to its
 * isa-debug-exit on the software CPU.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseElf32 } from '../../../src/machine/loader/elf.js';
import { isMultiboot, planMultiboot } from '../../../src/machine/loader/multiboot.js';

import { specOf } from '../../support/spec-of.js';
import { VmInProcess } from '../../support/vm-in-process.js';

const MIB = 1 << 20;
const CODE_AT = 0x100;

/** The header at 0x80 of the file. */
function multiboot(flags: number, addresses: number[] = []): Buffer {
  const b = Buffer.alloc(12 + 4 * addresses.length);
  b.writeUInt32LE(0x1bad_b002, 0);
  b.writeUInt32LE(flags, 4);
  b.writeUInt32LE((2 ** 32 - ((0x1bad_b002 + flags) % 2 ** 32)) % 2 ** 32, 8);
  addresses.forEach((address, i) => b.writeUInt32LE(address, 12 + 4 * i));
  return b;
}

/** One segment: the whole file at 1 MiB; the code begins at CODE_AT. */
function elf32(
  header: Buffer,
  { gpa = MIB, machine = 3, code = Buffer.from([0xf4]) } = {},
): Buffer {
  const b = Buffer.alloc(CODE_AT + code.length);
  b.writeUInt32LE(0x464c457f, 0);
  b.set([1, 1, 1], 4);
  b.writeUInt16LE(2, 16);
  b.writeUInt16LE(machine, 18);
  b.writeUInt32LE(gpa + CODE_AT, 24);
  b.writeUInt32LE(52, 28);
  b.writeUInt16LE(32, 42);
  b.writeUInt16LE(1, 44);
  [1, 0, gpa, gpa, b.length, b.length + 4096, 7, 0].forEach((word, i) =>
    b.writeUInt32LE(word, 52 + 4 * i),
  );
  header.copy(b, 0x80 + 0x20);
  code.copy(b, CODE_AT);
  return b;
}

const plan = (bytes: Buffer, initrd?: Buffer, ramMib = 16) =>
  planMultiboot({
    kernel: { path: 'k', bytes },
    initrd: initrd && { path: 'm', bytes: initrd },
    append: 'a b',
    ramBytes: ramMib * MIB,
    rsdp: 0,
  });
const at = (p: ReturnType<typeof plan>, gpa: number) =>
  Buffer.from(p.pieces.find(piece => piece.gpa === gpa)?.bytes ?? []);

test('an ELF kernel, its command line, its module and the memory map', () => {
  const image = elf32(multiboot(3));
  expect(isMultiboot(image)).toBe(true);
  const p = plan(image, Buffer.from('NR_CPUS=1\n'));
  expect(at(p, MIB).equals(image)).toBe(true);
  expect(p.registers.regs).toMatchObject({ rip: MIB + CODE_AT, rax: 0x2bad_b002 });
  const info = at(p, p.registers.regs.rbx ?? 0);
  expect(info.readUInt32LE(8)).toBe(15 * 1024);
  expect(at(p, info.readUInt32LE(16)).toString('latin1')).toBe('k a b\0');
  expect(info.readUInt32LE(20)).toBe(1);
  const list = info.readUInt32LE(24) - (p.registers.regs.rbx ?? 0);
  const [start, end] = [info.readUInt32LE(list), info.readUInt32LE(list + 4)];
  expect(start).toBe(MIB + 4 * 4096);
  expect(at(p, start).toString('latin1', 0, end - start)).toBe('NR_CPUS=1\n');
  expect(info.readUInt32LE(44) % 24).toBe(0);
});

test('entered in 32-bit protected mode without paging', () => {
  const { code, controls } = plan(elf32(multiboot(0))).registers;
  expect(controls).toEqual({ cr0: 0x11, cr3: 0, cr4: 0, efer: 0 });
  expect(code).toMatchObject({ base: 0, limit: 0xffff_ffff, long: false, db: true });
});

test('a header with addresses says itself where the file goes', () => {
  const header = multiboot(0x1_0000, [MIB + 16, MIB, MIB + 64, MIB + 256, MIB + 48]);
  const file = Buffer.concat([Buffer.alloc(32), header, Buffer.alloc(64, 0xf4)]);
  const p = plan(file);
  expect(at(p, MIB).equals(file.subarray(16, 80))).toBe(true);
  expect(at(p, MIB + 64)).toHaveLength(192);
  expect(p.registers.regs.rip).toBe(MIB + 48);
});

test.each([
  ['a video mode', elf32(multiboot(4)), 'asks for a video mode'],
  ['an unknown requirement', elf32(multiboot(0x40)), 'asks for Multiboot features 0x40'],
  ['a 64-bit machine', elf32(multiboot(0), { machine: 62 }), 'not for i386'],
  ['a place of devices', elf32(multiboot(0), { gpa: 0xa0000 }), 'wants to be at 0xa0000'],
  ['no ELF', Buffer.concat([multiboot(0), Buffer.alloc(64)]), 'and no ELF file'],
  [
    'addresses outside the file',
    Buffer.concat([multiboot(0x1_0000, [MIB, MIB, MIB + 4096, 0, MIB]), Buffer.alloc(64)]),
    'outside the file',
  ],
  [
    'an entry outside',
    Buffer.concat([multiboot(0x1_0000, [MIB, MIB, 0, 0, 2 * MIB]), Buffer.alloc(64)]),
    'the entry point 0x200000',
  ],
])('refused: %s', (_what, image, sentence) => {
  expect(() => plan(image)).toThrow(sentence);
});

test('a module that does not fit is refused with the RAM that it needs', () => {
  expect(() => plan(elf32(multiboot(0)), Buffer.alloc(4 * MIB), 4)).toThrow(
    'with its module needs 6 MiB of RAM, the machine has 4',
  );
});

test('it runs, and leaves by isa-debug-exit', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'colo-multiboot-'));
  const path = join(dir, 'kernel');
  // cmp eax, 2badb002; setz al; add eax, [ebx+20]: a module; mov dx, 501; out dx, al; hlt
  const code = Buffer.from('3d02b0ad2b0f94c00fb6c003431466ba0105eef4', 'hex');
  writeFileSync(path, elf32(multiboot(0), { code }));
  writeFileSync(join(dir, 'module'), 'text');
  const argv = `-accel soft -m 16 -kernel ${path} -initrd ${join(dir, 'module')}`.split(' ');
  const here = await VmInProcess.start(specOf('primary', [...argv, '-device', 'isa-debug-exit']));
  expect((await here.vm.machine.ended).status).toBe(2 * 2 + 1);
  await here.dispose();
  rmSync(dir, { recursive: true });
});

test('a checksum that is wrong is no header', () => {
  const image = elf32(multiboot(0));
  image[0xa0 + 8] ^= 1;
  expect(isMultiboot(image)).toBe(false);
  expect(parseElf32(image, '-kernel k').entry).toBe(MIB + CODE_AT);
});
