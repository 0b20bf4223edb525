/**
 * Loadable segments of an x86-64 ELF file (System V ABI, chapters 4 and 5). The file is untrusted:
 * every offset is checked.
 */
import { VmError } from '../../base/errors.js';

export interface ElfSegment {
  gpa: number;
  bytes: Uint8Array;
  /** At least bytes.length; the rest is zero. */
  memorySize: number;
}

const MAGIC = 0x464c457f;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const X86_64 = 62;
const PT_LOAD = 1;
const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
/** What lies beyond this is not RAM that a kernel can be loaded into. */
export const ADDRESS_MAX = 0xffff_ffffn;
/** A vmlinux has five. */
const MAX_SEGMENTS = 64;

export function isElf(bytes: Uint8Array): boolean {
  return (
    bytes.length >= HEADER_SIZE &&
    Buffer.from(bytes.buffer, bytes.byteOffset, 4).readUInt32LE(0) === MAGIC
  );
}

export function parseElf(
  bytes: Uint8Array,
  option: string,
): { entry: number; segments: ElfSegment[] } {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (b[4] !== CLASS_64 || b[5] !== LITTLE_ENDIAN || b.readUInt16LE(18) !== X86_64)
    throw new VmError(`${option}: an ELF file, but not for x86-64`);
  const table = b.readBigUInt64LE(32);
  const count = b.readUInt16LE(56);
  if (
    b.readUInt16LE(54) !== PROGRAM_HEADER_SIZE ||
    table + BigInt(count * PROGRAM_HEADER_SIZE) > BigInt(b.length)
  )
    throw new VmError(`${option}: program headers are outside the file`);
  const segments: ElfSegment[] = [];
  for (let i = 0; i < count; i++) {
    const at = Number(table) + i * PROGRAM_HEADER_SIZE;
    if (b.readUInt32LE(at) === PT_LOAD) segments.push(segment(b, at, option));
    if (segments.length > MAX_SEGMENTS)
      throw new VmError(`${option}: more than ${MAX_SEGMENTS} segments to load`);
  }
  mustNotOverlap(segments, option);
  const entry = b.readBigUInt64LE(24);
  if (!segments.some(s => entry >= BigInt(s.gpa) && entry < BigInt(s.gpa + s.memorySize)))
    throw new VmError(`${option}: the entry point 0x${entry.toString(16)} is in no segment`);
  return { entry: Number(entry), segments };
}

function segment(b: Buffer, at: number, option: string): ElfSegment {
  const offset = b.readBigUInt64LE(at + 8);
  const gpa = b.readBigUInt64LE(at + 24);
  const fileSize = b.readBigUInt64LE(at + 32);
  const memorySize = b.readBigUInt64LE(at + 40);
  if (offset + fileSize > BigInt(b.length) || fileSize > memorySize)
    throw new VmError(`${option}: a segment is outside the file`);
  if (gpa < 0x10_0000n || gpa + memorySize > ADDRESS_MAX)
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
