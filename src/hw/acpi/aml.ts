/**
 * The little of AML that a DSDT needs whose one choice is that of interrupt controllers (ACPI 6.3,
 * chapter 20; resource descriptors: section 6.4).
 */
import { assert } from '../../base/errors.js';

const Op = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE: 0x0a,
  WORD: 0x0b,
  DWORD: 0x0c,
  STRING: 0x0d,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  METHOD: 0x14,
  EXTENDED: 0x5b,
  ARG0: 0x68,
  STORE: 0x70,
  DEVICE: 0x82,
  IF: 0xa0,
  RETURN: 0xa4,
} as const;

export function amlInteger(value: number): Buffer {
  if (value === 0) return Buffer.of(Op.ZERO);
  if (value === 1) return Buffer.of(Op.ONE);
  if (value <= 0xff) return Buffer.of(Op.BYTE, value);
  if (value <= 0xffff) return Buffer.of(Op.WORD, value & 0xff, value >> 8);
  const b = Buffer.alloc(5);
  b[0] = Op.DWORD;
  b.writeUInt32LE(value, 1);
  return b;
}

export const amlText = (value: string) =>
  Buffer.concat([Buffer.of(Op.STRING), Buffer.from(value, 'latin1'), Buffer.of(0)]);

/** "PNP0A03" as a compressed EISA id (section 19.3.4). */
export function eisaId(id: string): Buffer {
  const letters = [...id.slice(0, 3)].map(c => c.charCodeAt(0) - 0x40);
  const b = Buffer.alloc(5);
  b[0] = Op.DWORD;
  b.writeUInt16BE((letters[0] * 32 + letters[1]) * 32 + letters[2], 1);
  b.writeUInt16BE(parseInt(id.slice(3), 16), 3);
  return b;
}

/** Length of a package, itself included (section 20.2.4). */
function packageLength(content: number): Buffer {
  if (content + 1 < 64) return Buffer.of(content + 1);
  for (const extra of [1, 2, 3]) {
    const total = content + 1 + extra;
    if (total < 2 ** (4 + 8 * extra))
      return Buffer.from([
        (extra << 6) | (total & 0x0f),
        ...Array.from({ length: extra }, (_, i) => (total >> (4 + 8 * i)) & 0xff),
      ]);
  }
  assert(false, 'AML package below 256 MiB');
}

/** `PCI0`, `_SB_`, `\_SB_`. */
function nameString(name: string): Buffer {
  const root = name.startsWith('\\');
  const segment = name.slice(root ? 1 : 0).padEnd(4, '_');
  assert(/^[A-Z_][A-Z0-9_]{3}$/.test(segment), `${name} is one AML name segment`);
  return Buffer.from((root ? '\\' : '') + segment, 'latin1');
}

function block(op: number[], head: Buffer, body: Buffer[]): Buffer {
  const content = Buffer.concat([head, ...body]);
  return Buffer.concat([Buffer.from(op), packageLength(content.length), content]);
}

export const named = (name: string, value: Buffer) =>
  Buffer.concat([Buffer.of(Op.NAME), nameString(name), value]);
export const scope = (name: string, ...body: Buffer[]) => block([Op.SCOPE], nameString(name), body);
export const device = (name: string, ...body: Buffer[]) =>
  block([Op.EXTENDED, Op.DEVICE], nameString(name), body);
export const pack = (...elements: Buffer[]) =>
  block([Op.PACKAGE], Buffer.of(elements.length), elements);
const buffer = (content: Buffer) => block([Op.BUFFER], amlInteger(content.length), [content]);

// --- methods

export const method = (name: string, args: number, ...body: Buffer[]) =>
  block([Op.METHOD], Buffer.concat([nameString(name), Buffer.of(args)]), body);
export const storeArgument = (name: string) =>
  Buffer.concat([Buffer.of(Op.STORE, Op.ARG0), nameString(name)]);
export const whenSet = (name: string, ...body: Buffer[]) => block([Op.IF], nameString(name), body);
export const returned = (name: string) => Buffer.concat([Buffer.of(Op.RETURN), nameString(name)]);

// --- resource descriptors

export const resources = (...descriptors: Buffer[]) =>
  buffer(Buffer.concat([...descriptors, Buffer.of(0x79, 0x00)]));

/** I/O ports with 16-bit decoding. */
export function ioPorts(base: number, length: number): Buffer {
  return Buffer.of(0x47, 0x01, base & 0xff, base >> 8, base & 0xff, base >> 8, 0x01, length);
}

/** An ISA interrupt: edge, active high. */
export const isaIrq = (irq: number) => Buffer.of(0x22, (1 << irq) & 0xff, (1 << irq) >> 8);

const Space = { MEMORY: 0, IO: 1, BUS: 2 } as const;
/** Producer of this range; minimum and maximum are fixed. */
const FIXED = 0x0c;

function wordRange(space: number, typeFlags: number, first: number, last: number): Buffer {
  const b = Buffer.alloc(16);
  b[0] = 0x88;
  b.writeUInt16LE(13, 1);
  b[3] = space;
  b[4] = FIXED;
  b[5] = typeFlags;
  b.writeUInt16LE(first, 8);
  b.writeUInt16LE(last, 10);
  b.writeUInt16LE(last - first + 1, 14);
  return b;
}

export const busRange = (first: number, last: number) => wordRange(Space.BUS, 0, first, last);
/** The entire range is I/O (ISA and not). */
export const ioRange = (first: number, last: number) => wordRange(Space.IO, 0x03, first, last);

/** Non-cacheable, read-write memory. */
export function memoryRange(first: number, last: number): Buffer {
  const b = Buffer.alloc(26);
  b[0] = 0x87;
  b.writeUInt16LE(23, 1);
  b[3] = Space.MEMORY;
  b[4] = FIXED;
  b[5] = 0x01;
  b.writeUInt32LE(first, 10);
  b.writeUInt32LE(last, 14);
  b.writeUInt32LE(last - first + 1, 22);
  return b;
}
