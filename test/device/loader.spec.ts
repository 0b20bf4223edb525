/**
 * What the Linux loader puts where, and what it refuses. Method: a synthetic bzImage and ELF file;
 * a real kernel if COLO_TEST_KERNEL names one.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { descriptor, withBootRegisters } from '../../src/machine/loader/cpu-image.js';
import { type LoadPlan, planLinux } from '../../src/machine/loader/linux.js';

const MIB = 1 << 20;
const ZERO_PAGE = 0x7000;

interface Header {
  version?: number;
  xloadflags?: number;
  initSize?: number;
  preferred?: number | bigint;
  cmdlineSize?: number;
  initrdMax?: number;
  relocatable?: number;
}
function bzImage(h: Header = {}, payload = 8192): Buffer {
  const b = Buffer.alloc(5 * 512 + payload, 0x90);
  b.fill(0, 0, 5 * 512);
  b[0x1f1] = 4;
  b.writeUInt16LE(0xaa55, 0x1fe);
  b[0x200] = 0xeb;
  b[0x201] = 0x6a;
  b.write('HdrS', 0x202, 'latin1');
  b.writeUInt16LE(h.version ?? 0x020f, 0x206);
  b.writeUInt32LE(h.initrdMax ?? 0x7fff_ffff, 0x22c);
  b.writeUInt32LE(2 * MIB, 0x230);
  b[0x234] = h.relocatable ?? 1;
  b.writeUInt16LE(h.xloadflags ?? 1, 0x236);
  b.writeUInt32LE(h.cmdlineSize ?? 2047, 0x238);
  b.writeBigUInt64LE(BigInt(h.preferred ?? 16 * MIB), 0x258);
  b.writeUInt32LE(h.initSize ?? 4 * MIB, 0x260);
  return b;
}
interface ElfChanges {
  machine?: number;
  entry?: bigint;
  offset?: bigint;
  fileSize?: bigint;
  gpa?: bigint;
  memorySize?: bigint;
  table?: bigint;
  segments?: number;
}
function elf(changes: ElfChanges = {}): Buffer {
  const segments = changes.segments ?? 1;
  const b = Buffer.alloc(64 + 56 * segments + 256);
  b.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  b.writeUInt16LE(changes.machine ?? 62, 18);
  b.writeBigUInt64LE(changes.entry ?? BigInt(16 * MIB + 0x100), 24);
  b.writeBigUInt64LE(changes.table ?? 64n, 32);
  b.writeUInt16LE(56, 54);
  b.writeUInt16LE(segments, 56);
  for (let at = 64; at < 64 + 56 * segments; at += 56) {
    b.writeUInt32LE(1, at);
    b.writeBigUInt64LE(changes.offset ?? BigInt(64 + 56 * segments), at + 8);
    b.writeBigUInt64LE(changes.gpa ?? BigInt(16 * MIB), at + 24);
    b.writeBigUInt64LE(changes.fileSize ?? 256n, at + 32);
    b.writeBigUInt64LE(changes.memorySize ?? 4096n, at + 40);
  }
  return b;
}
const cpio = (size: number) => Buffer.concat([Buffer.from('070701'), Buffer.alloc(size - 6)]);
const plan = (kernel: Buffer, options: { initrd?: Buffer; append?: string; ram?: number } = {}) =>
  planLinux({
    kernel: { path: 'vmlinuz', bytes: kernel },
    initrd: options.initrd && { path: 'initrd.img', bytes: options.initrd },
    append: options.append ?? '',
    ramBytes: options.ram ?? 64 * MIB,
    rsdp: 0xe0000,
  });
const piece = (p: LoadPlan, gpa: number) => Buffer.from(p.pieces.find(x => x.gpa === gpa)!.bytes);

describe('bzImage', () => {
  test('payload at its preferred address, entry 0x200 behind, parameters in RSI', () => {
    const p = plan(bzImage());
    expect(piece(p, 16 * MIB).length).toBe(8192);
    expect(p.registers.regs).toMatchObject({ rip: 16 * MIB + 0x200, rsi: ZERO_PAGE });
    const page = piece(p, ZERO_PAGE);
    expect([
      page.toString('latin1', 0x202, 0x206),
      page[0x210],
      page[0x211] & 1,
      page.readUInt32LE(0x70),
    ]).toEqual(['HdrS', 0xff, 1, 0xe0000]);
  });

  test('a relocatable one needs its preferred address, too: it unpacks itself there', () => {
    expect(() => plan(bzImage({ initSize: 12 * MIB }), { ram: 24 * MIB })).toThrow(
      'needs 28 MiB of RAM, the machine has 24',
    );
  });

  test('command line and initrd: where the parameters say, page aligned, below the limit', () => {
    const p = plan(bzImage({ initrdMax: 40 * MIB - 1 }), {
      append: 'console=ttyS0 quiet',
      initrd: cpio(5000),
    });
    const page = piece(p, ZERO_PAGE);
    expect(piece(p, page.readUInt32LE(0x228)).toString()).toBe('console=ttyS0 quiet\0');
    const at = page.readUInt32LE(0x218);
    expect([at % 4096, at, page.readUInt32LE(0x21c)]).toEqual([0, 40 * MIB - 8192, 5000]);
    expect(piece(p, at).length).toBe(5000);
  });

  test('nothing is invented for -append', () => {
    const p = plan(bzImage());
    expect(piece(p, piece(p, ZERO_PAGE).readUInt32LE(0x228))).toEqual(Buffer.from('\0'));
  });

  test('the memory map: hole below 1 MiB, RAM beyond 3 GiB at 4 GiB', () => {
    const page = piece(plan(bzImage(), { ram: 4096 * MIB }), ZERO_PAGE);
    const map = Array.from({ length: page[0x1e8] }, (_, i) =>
      [
        page.readBigUInt64LE(0x2d0 + 20 * i),
        page.readBigUInt64LE(0x2d8 + 20 * i),
        page.readUInt32LE(0x2e0 + 20 * i),
      ].map(Number),
    );
    expect(map).toEqual([
      [0, 0x9fc00, 1],
      [0x9fc00, 0x400, 2],
      [0xe0000, 0x20000, 2],
      [0x100000, 3071 * MIB, 1],
      [4096 * MIB, 1024 * MIB, 1],
    ]);
  });

  test('the random seed has its place in the setup data', () => {
    const p = plan(bzImage());
    const at = piece(p, ZERO_PAGE).readUInt32LE(0x250);
    expect([piece(p, at).readUInt32LE(8), piece(p, at).readUInt32LE(12), p.seed]).toEqual([
      9,
      32,
      { gpa: at + 16, length: 32 },
    ]);
  });
});

describe('ELF', () => {
  test('segments at their physical addresses, zeroed to their size', () => {
    const p = plan(elf());
    expect(p.registers.regs.rip).toBe(16 * MIB + 0x100);
    expect(piece(p, 16 * MIB).length).toBe(256);
    expect(piece(p, 16 * MIB + 256).length).toBe(4096 - 256);
  });

  test.each([
    [{ machine: 3 }, /-kernel vmlinuz: an ELF file, but not for x86-64/],
    [{ entry: 5n }, /entry point 0x5 is in no segment/],
    [{ offset: 1_000_000n }, /a segment is outside the file/],
    [{ fileSize: 0xffff_ffff_ffff_ffffn }, /a segment is outside the file/],
    [{ offset: 0xffff_ffff_ffff_ff00n }, /a segment is outside the file/],
    [{ table: 0xffff_ffff_ffff_ffffn }, /program headers are outside the file/],
    [{ gpa: 0xffff_ffff_0000_0000n }, /wants to be at 0xffffffff00000000/],
    [{ gpa: 0x1000n }, /wants to be at 0x1000/],
    [{ memorySize: 0xffff_ffff_ffff_ffffn }, /wants to be at/],
    [{ memorySize: 0xe000_0000n }, /-kernel vmlinuz: needs 3600 MiB of RAM, the machine has 64/],
    [{ segments: 2 }, /two segments want to be at 0x1000000/],
    [{ segments: 65 }, /more than 64 segments/],
  ])('%p is refused', (changes, why) => {
    expect(() => plan(elf(changes))).toThrow(why);
  });
});

describe('refusals name the option, the file and what is wrong', () => {
  test.each([
    [
      () => plan(Buffer.alloc(4096)),
      '-kernel vmlinuz: neither a bzImage, an ELF vmlinux nor a Multiboot kernel',
    ],
    [
      () => plan(Buffer.alloc(10)),
      '-kernel vmlinuz: neither a bzImage, an ELF vmlinux nor a Multiboot kernel',
    ],
    [() => plan(bzImage({ xloadflags: 0 })), '-kernel vmlinuz: has no 64-bit entry'],
    [
      () => plan(bzImage({ version: 0x0206 })),
      '-kernel vmlinuz: has no 64-bit entry (boot protocol 2.6)',
    ],
    [() => plan(bzImage().subarray(0, 5 * 512)), '-kernel vmlinuz: truncated'],
    [
      () => plan(bzImage({ preferred: 0xffff_ffff_0000_0000n })),
      '-kernel vmlinuz: wants to be at 0xffffffff00000000',
    ],
    [() => plan(bzImage({ preferred: 1n << 32n })), '-kernel vmlinuz: wants to be at 0x100000000'],
    [() => plan(bzImage({ preferred: 0 })), '-kernel vmlinuz: wants to be at 0x0'],
    [() => plan(bzImage({ preferred: 0x1000 })), '-kernel vmlinuz: wants to be at 0x1000'],
    [
      () => plan(bzImage({ preferred: 0xffff_ffff, initSize: 0xffff_ffff })),
      '-kernel vmlinuz: needs 8192 MiB of RAM',
    ],
    [
      () => plan(bzImage({ relocatable: 0, initSize: 60 * MIB })),
      '-kernel vmlinuz: needs 76 MiB of RAM, the machine has 64',
    ],
    [
      () => plan(bzImage({ cmdlineSize: 10 }), { append: 'x'.repeat(11) }),
      '-append: 11 characters, this kernel takes at most 10',
    ],
    [
      () => plan(bzImage(), { initrd: Buffer.alloc(100) }),
      '-initrd initrd.img: neither a cpio archive',
    ],
    [() => plan(bzImage(), { initrd: cpio(50 * MIB) }), '-initrd initrd.img: 50 MiB do not fit'],
  ])('%#', (act, why) => {
    expect(act).toThrow(why);
  });
});

test('boot registers in a vCPU image, and descriptors as the SDM draws them', () => {
  const { registers } = plan(bzImage());
  const image = withBootRegisters(Buffer.alloc(8192, 0xcc), registers);
  expect(image.readBigUInt64LE(8 + 8 * 16)).toBe(BigInt(16 * MIB + 0x200)); // rip
  expect(image.readBigUInt64LE(8 + 8 * 17)).toBe(2n);
  expect(image.readUInt16LE(152 + 12)).toBe(0x10); // cs selector
  expect(image.readBigUInt64LE(152 + 224)).toBe(0x8000_0031n); // cr0
  expect(image.readBigUInt64LE(152 + 224 + 40)).toBe(0x500n); // efer
  expect(descriptor(registers.code)).toBe(0x00af_9b00_0000_ffffn);
  expect(descriptor(registers.data)).toBe(0x00cf_9300_0000_ffffn);
});

const real = process.env.COLO_TEST_KERNEL ?? '';
(existsSync(real) ? test : test.skip)('a real kernel', () => {
  const p = plan(readFileSync(real), {
    ram: 256 * MIB,
    initrd: cpio(1 << 20),
    append: 'console=ttyS0',
  });
  expect(p.registers.regs.rip! % 512).toBe(0);
  expect(p.pieces.length).toBeGreaterThan(5);
});
