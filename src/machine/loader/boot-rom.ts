/**
 * An option ROM for a kernel that firmware shall start: a boot entry vector (BIOS Boot
 * Specification, section 3.3) that has fw_cfg copy each part to its place, and enters the kernel's
 * setup code in real mode.
 */
import { assert } from '../../base/errors.js';

/** What fw_cfg copies: the item with this key, to this address. */
export interface RomCopy {
  readonly key: number;
  readonly length: number;
  readonly gpa: number;
}

const SECTOR = 512;
const PNP = 0x20;
const CODE = 0x40;
const PNP_BYTES = 32;
/** One transfer at a time lies there: real-mode memory that neither firmware nor kernel has. */
const SCRATCH = 0x80000;
const Dma = { PORT: 0x514, READ: 0x02, SELECT: 0x08, BYTES: 16 } as const;

/** entry: physical address of the setup code; its segment is the one before it by 512 bytes. */
export function bootRom(name: string, copies: readonly RomCopy[], entry: number): Buffer {
  const setup = (entry - SECTOR) >> 4;
  const length = code(0, copies.length, setup).length;
  const table = CODE + length;
  const title = table + copies.length * Dma.BYTES;
  const rom = Buffer.alloc(SECTOR);
  assert(title + name.length < SECTOR - 1, 'the ROM has one sector');
  // Signature, sectors, and what is called when the ROM is found: RETF.
  rom.set([0x55, 0xaa, rom.length / SECTOR, 0xcb]);
  rom.writeUInt16LE(PNP, 0x1a);
  rom.set(code(table, copies.length, setup), CODE);
  copies.forEach((copy, i) => rom.set(transfer(copy), table + i * Dma.BYTES));
  rom.write(`${name}\0`, title, 'latin1');
  rom.set(pnpHeader(title), PNP);
  rom[rom.length - 1] = negated(rom);
  return rom;
}

/** Plug and Play BIOS Specification 1.0A, section 3.2: a device that boots. */
function pnpHeader(title: number): Buffer {
  const header = Buffer.alloc(PNP_BYTES);
  header.write('$PnP', 0, 'latin1');
  header.set([1, PNP_BYTES / 16], 4);
  header.writeUInt16LE(title, 0x10);
  header.writeUInt16LE(CODE, 0x1a);
  header[9] = negated(header);
  return header;
}

/** The sum of all bytes is 0 with it. */
const negated = (bytes: Buffer): number => -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;

/** As fw_cfg takes it: control, length and address, big endian. */
function transfer({ key, length, gpa }: RomCopy): Buffer {
  const b = Buffer.alloc(Dma.BYTES);
  b.writeUInt32BE(((key << 16) | Dma.SELECT | Dma.READ) >>> 0, 0);
  b.writeUInt32BE(length, 4);
  b.writeBigUInt64BE(BigInt(gpa), 8);
  return b;
}

const word = (value: number): [number, number] => [value & 0xff, value >> 8];
const bigEndian = (value: number): number[] => [24, 16, 8, 0].map(bits => (value >>> bits) & 0xff);

/** 16-bit code. table: offset of the transfers; setup: segment of the kernel's first sector. */
function code(table: number, copies: number, setup: number): number[] {
  const dma = [
    ...[0xba, ...word(Dma.PORT)], //        mov dx, 0x514
    ...[0x66, 0x31, 0xc0], //               xor eax, eax
    ...[0x66, 0xef], //                     out dx, eax
    ...[0xba, ...word(Dma.PORT + 4)], //    mov dx, 0x518
    ...[0x66, 0xb8, ...bigEndian(SCRATCH)], // mov eax, SCRATCH as fw_cfg reads it
    ...[0x66, 0xef], //                     out dx, eax
    ...[0x66, 0x26, 0x83, 0x3e, 0, 0, 0], // cmp dword es:[0], 0
  ];
  const copy = [
    0x51, //                                push cx
    ...[0x31, 0xff], //                     xor di, di
    ...[0xb9, ...word(Dma.BYTES / 2)], //   mov cx, 8
    ...[0xf3, 0xa5], //                     rep movsw
    0x59, //                                pop cx
    ...dma,
  ];
  const enter = [
    ...[0xb8, ...word(setup)], //           mov ax, setup
    ...[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8, 0x8e, 0xd0], // ds, es, fs, gs, ss
    ...[0xbc, ...word(0xfff0)], //          mov sp, 0xfff0
    ...[0xea, 0, 0, ...word(setup + (SECTOR >> 4))], // jmp to the setup code
  ];
  const loop = [0xe2, -(copy.length + 4) & 0xff]; // back to push cx
  return [
    ...[0xfa, 0xfc], //                     cli; cld
    ...[0xb8, ...word(SCRATCH >> 4)], //    mov ax, SCRATCH >> 4
    ...[0x8e, 0xd0, 0xbc, ...word(0xfff0)], // mov ss, ax; mov sp, 0xfff0
    ...[0x8e, 0xc0], //                     mov es, ax
    ...[0x0e, 0x1f], //                     push cs; pop ds
    ...[0xbe, ...word(table)], //           mov si, table
    ...[0xb9, ...word(copies)], //          mov cx, copies
    ...copy,
    ...[0x75, loop.length + enter.length], // jne failed
    ...loop,
    ...enter,
    ...[0xcd, 0x18], //                     failed: int 0x18, the next boot device
    ...[0xf4, 0xeb, 0xfd], //               hlt, for ever
  ];
}
