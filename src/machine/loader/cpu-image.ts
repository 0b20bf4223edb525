/**
 * Boot registers, written into a saved vCPU image (kvm_regs at 8, kvm_sregs at 152; <linux/kvm.h>
 * on x86-64 lays both out). Everything else of the image stays at its power-on value.
 */
import { assert } from '../../base/errors.js';

const REGS = 8;
const SREGS = 152;
const SEGMENT_SIZE = 24;
/** Order of kvm_regs. */
const REG = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;
/** Order of kvm_sregs: eight segments, two tables, control registers. */
const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const TABLES = SREGS + SEGMENT_SIZE * SEGMENTS.length;
const CONTROLS = TABLES + 32;
const CONTROL = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const;
const IMAGE_MIN = 592;

export interface Segment {
  base: number;
  limit: number;
  selector: number;
  type: number;
  present: boolean;
  /** Code or data (1), or system (0). */
  s: boolean;
  /** 64-bit code. */
  long: boolean;
  db: boolean;
  granular: boolean;
}

/** A busy TSS at address 0: the CPU wants one, and nothing uses it. */
export function taskSegment(selector: number): Segment {
  const no = { s: false, long: false, db: false, granular: false };
  return { base: 0, limit: 0x67, selector, type: 0x0b, present: true, ...no };
}

export interface BootRegisters {
  regs: Partial<Record<(typeof REG)[number], number>>;
  controls: Record<'cr0' | 'cr3' | 'cr4' | 'efer', number>;
  code: Segment;
  data: Segment;
  task: Segment;
  gdt: { base: number; limit: number };
}

export function withBootRegisters(image: Buffer, boot: BootRegisters): Buffer {
  assert(image.length >= IMAGE_MIN, 'a vCPU image holds kvm_regs and kvm_sregs');
  const out = Buffer.from(image);
  REG.forEach((name, i) =>
    out.writeBigUInt64LE(BigInt(boot.regs[name] ?? (name === 'rflags' ? 2 : 0)), REGS + 8 * i),
  );
  SEGMENTS.forEach((name, i) => {
    const at = SREGS + SEGMENT_SIZE * i;
    if (name === 'cs') writeSegment(out, at, boot.code);
    else if (name === 'tr') writeSegment(out, at, boot.task);
    else if (name !== 'ldt') writeSegment(out, at, boot.data);
  });
  out.writeBigUInt64LE(BigInt(boot.gdt.base), TABLES);
  out.writeUInt16LE(boot.gdt.limit, TABLES + 8);
  CONTROL.forEach((name, i) => {
    if (name !== 'cr2' && name !== 'cr8')
      out.writeBigUInt64LE(BigInt(boot.controls[name]), CONTROLS + 8 * i);
  });
  return out;
}

function writeSegment(b: Buffer, at: number, s: Segment): void {
  b.writeBigUInt64LE(BigInt(s.base), at);
  b.writeUInt32LE(s.limit, at + 8);
  b.writeUInt16LE(s.selector, at + 12);
  const bit = (value: boolean) => (value ? 1 : 0);
  b.set(
    [s.type, bit(s.present), 0, bit(s.db), bit(s.s), bit(s.long), bit(s.granular), 0, 0, 0],
    at + 14,
  );
}

/** The descriptor-table entry of a segment (Intel SDM vol. 3, section 3.4.5). */
export function descriptor(s: Segment): bigint {
  const limit = s.granular ? Math.floor(s.limit / 4096) : s.limit;
  const access = s.type | (s.s ? 0x10 : 0) | (s.present ? 0x80 : 0);
  const flags = (s.long ? 2 : 0) | (s.db ? 4 : 0) | (s.granular ? 8 : 0);
  return (
    BigInt(limit & 0xffff) |
    (BigInt(s.base & 0xffffff) << 16n) |
    (BigInt(access) << 40n) |
    (BigInt((limit >> 16) & 0xf) << 48n) |
    (BigInt(flags) << 52n) |
    (BigInt((s.base >>> 24) & 0xff) << 56n)
  );
}
