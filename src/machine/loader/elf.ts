/**
 * Loadable segments of an ELF file (System V ABI, chapters 4 and 5). The file is untrusted:
 * every offset is checked.
 */
import { VmError } from '../../base/errors.js';
import { Low } from './memory-map.js';

export interface ElfSegment {
  gpa: number;
  bytes: Uint8Array;
  /** At least bytes.length; the rest is zero. */
  memorySize: number;
}

const MAGIC = 0x464c457f;
const LITTLE_ENDIAN = 1;
const PT_LOAD = 1;
const HEADER_MIN = 52;

/** Where the two classes of ELF have what is needed, in bytes; word: a size or an address. */
interface Layout {
  class: number;
  machine: number;
  processor: string;
  word: (b: Buffer, at: number) => bigint;
  /** Below 1 MiB nothing goes beyond this: the loader has tables there, or devices are. */
  lowEnd: bigint;
  header: { size: number; entry: number; table: number; entrySize: number; count: number };
  program: { size: number; offset: number; gpa: number; fileSize: number; memorySize: number };
}
const ELF64: Layout = {
  class: 2,
  machine: 62,
  processor: 'x86-64',
  word: (b, at) => b.readBigUInt64LE(at),
  lowEnd: 0n,
  header: { size: 64, entry: 24, table: 32, entrySize: 54, count: 56 },
  program: { size: 56, offset: 8, gpa: 24, fileSize: 32, memorySize: 40 },
};
const ELF32: Layout = {
  class: 1,
  machine: 3,
  processor: 'i386',
  word: (b, at) => BigInt(b.readUInt32LE(at)),
  lowEnd: BigInt(Low.EBDA),
  header: { size: 52, entry: 24, table: 28, entrySize: 42, count: 44 },
  program: { size: 32, offset: 4, gpa: 12, fileSize: 16, memorySize: 20 },
};
/** What lies beyond this is not RAM that a kernel can be loaded into. */
export const ADDRESS_MAX = 0xffff_ffffn;
/** A vmlinux has five. */
const MAX_SEGMENTS = 64;

export function isElf(bytes: Uint8Array): boolean {
  return (
    bytes.length >= HEADER_MIN &&
    Buffer.from(bytes.buffer, bytes.byteOffset, 4).readUInt32LE(0) === MAGIC
  );
}

export interface Elf {
  entry: number;
  segments: ElfSegment[];
}
export const parseElf = (bytes: Uint8Array, option: string): Elf => parse(bytes, ELF64, option);
export const parseElf32 = (bytes: Uint8Array, option: string): Elf => parse(bytes, ELF32, option);

function parse(bytes: Uint8Array, layout: Layout, option: string): Elf {
  const { header, program, word } = layout;
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (
    b.length < header.size ||
    b[4] !== layout.class ||
    b[5] !== LITTLE_ENDIAN ||
    b.readUInt16LE(18) !== layout.machine
  )
    throw new VmError(`${option}: an ELF file, but not for ${layout.processor}`);
  const table = word(b, header.table);
  const count = b.readUInt16LE(header.count);
  if (
    b.readUInt16LE(header.entrySize) !== program.size ||
    table + BigInt(count * program.size) > BigInt(b.length)
  )
    throw new VmError(`${option}: program headers are outside the file`);
  const segments: ElfSegment[] = [];
  for (let i = 0; i < count; i++) {
    const at = Number(table) + i * program.size;
    if (b.readUInt32LE(at) === PT_LOAD) segments.push(segment(b, at, layout, option));
    if (segments.length > MAX_SEGMENTS)
      throw new VmError(`${option}: more than ${MAX_SEGMENTS} segments to load`);
  }
  mustNotOverlap(segments, option);
  const entry = word(b, header.entry);
  if (!segments.some(s => entry >= BigInt(s.gpa) && entry < BigInt(s.gpa + s.memorySize)))
    throw new VmError(`${option}: the entry point 0x${entry.toString(16)} is in no segment`);
  return { entry: Number(entry), segments };
}

function segment(b: Buffer, at: number, layout: Layout, option: string): ElfSegment {
  const { program, word, lowEnd } = layout;
  const offset = word(b, at + program.offset);
  const gpa = word(b, at + program.gpa);
  const fileSize = word(b, at + program.fileSize);
  const memorySize = word(b, at + program.memorySize);
  if (offset + fileSize > BigInt(b.length) || fileSize > memorySize)
    throw new VmError(`${option}: a segment is outside the file`);
  const end = gpa + memorySize;
  if ((gpa < BigInt(Low.TOP) && end > lowEnd) || end > ADDRESS_MAX)
    throw new VmError(`${option}: a segment wants to be at 0x${gpa.toString(16)}`);
  return {
    gpa: Number(gpa),
    bytes: b.subarray(Number(offset), Number(offset + fileSize)),
    memorySize: Number(memorySize),
  };
}

/** Disjoint segments are no larger than RAM, all together. */
function mustNotOverlap(segments: readonly ElfSegment[], option: string): void {
  const sorted = [...segments].sort((a, b) => a.gpa - b.gpa);
  sorted.forEach((s, i) => {
    const before = sorted[i - 1];
    if (i > 0 && before.gpa + before.memorySize > s.gpa)
      throw new VmError(`${option}: two segments want to be at 0x${s.gpa.toString(16)}`);
  });
}
