/**
 * A bare-metal 64-bit guest for tests: page tables, descriptor tables and hand-made machine code,
 * entered as a boot loader would. RAM: 0x1000 GDT, 0x2000 IDT, 0x3000.. page tables (0 to 4 GiB
 * mapped one to one), 0x10000 code, 0x20000 results, 0x80000 stack.
 */
import type { Ram, VmAccel } from '../../src/accel/contract.js';
import { type VcpuSegment, VcpuImage } from '../../src/accel/vcpu-image.js';

const GDT = 0x1000;
export const IDT = 0x2000;
const PAGE_TABLES = 0x3000;
export const CODE = 0x10000;
export const RESULT = 0x20000;
const STACK = 0x80000;
export const LAPIC = 0xfee00000;
export const TIMER_VECTOR = 0x40;

/** A few instructions of x86-64, as bytes. */
export class Assembler {
  private readonly bytes: number[] = [];
  constructor(readonly base = CODE) {}

  get here(): number {
    return this.base + this.bytes.length;
  }
  code(): Buffer {
    return Buffer.from(this.bytes);
  }
  raw(...bytes: number[]): this {
    this.bytes.push(...bytes);
    return this;
  }
  private imm32(value: number): this {
    return this.raw(
      value & 0xff,
      (value >>> 8) & 0xff,
      (value >>> 16) & 0xff,
      (value >>> 24) & 0xff,
    );
  }
  movEax(value: number): this {
    return this.raw(0xb8).imm32(value);
  }
  movEcx(value: number): this {
    return this.raw(0xb9).imm32(value);
  }
  movEdx(value: number): this {
    return this.raw(0xba).imm32(value);
  }
  movEbx(value: number): this {
    return this.raw(0xbb).imm32(value);
  }
  /** dec ecx; jnz back to itself. */
  countDownEcx(): this {
    return this.raw(0xff, 0xc9, 0x75, 0xfc);
  }
  outDxAl(): this {
    return this.raw(0xee);
  }
  outDxEax(): this {
    return this.raw(0xef);
  }
  inAlDx(): this {
    return this.raw(0xec);
  }
  inEaxDx(): this {
    return this.raw(0xed);
  }
  /** mov dword [rbx+offset], value */
  storeAtRbx(offset: number, value: number): this {
    return this.raw(0xc7, 0x83).imm32(offset).imm32(value);
  }
  /** mov word [rbx], value */
  storeWordAtRbx(value: number): this {
    return this.raw(0x66, 0xc7, 0x03, value & 0xff, value >>> 8);
  }
  /** mov [address], eax; addresses below 2 GiB */
  storeEax(address: number): this {
    return this.raw(0x89, 0x04, 0x25).imm32(address);
  }
  loadEax(address: number): this {
    return this.raw(0x8b, 0x04, 0x25).imm32(address);
  }
  incDword(address: number): this {
    return this.raw(0xff, 0x04, 0x25).imm32(address);
  }
  cli(): this {
    return this.raw(0xfa);
  }
  sti(): this {
    return this.raw(0xfb);
  }
  hlt(): this {
    return this.raw(0xf4);
  }
  ud2(): this {
    return this.raw(0x0f, 0x0b);
  }
  jumpTo(address: number): this {
    return this.raw(0xe9).imm32(address - (this.here + 4));
  }
}

/** Handler of NMIs: 1; at the first NMI another to itself, which has to wait; 2; 3. */
export function nmiHandler(at: number): Buffer {
  const send = new Assembler(at).movEbx(LAPIC).storeAtRbx(0x310, 0).storeAtRbx(0x300, 0x400).code();
  const a = new Assembler(at).movEdx(0x80).movEax(1).outDxAl().incDword(RESULT);
  a.raw(
    0x83,
    0x3c,
    0x25,
    ...[0, 8, 16, 24].map(shift => (RESULT >> shift) & 0xff),
    1,
    0x75,
    send.length,
  ).raw(...send); // cmp dword [RESULT], 1; jne
  return a.movEax(2).outDxAl().movEax(3).outDxAl().raw(0x48, 0xcf).code(); // iretq
}

/** The handler of TIMER_VECTOR: counts at RESULT + 0x100 and acknowledges. */
function timerHandler(base: number): Buffer {
  const a = new Assembler(base).raw(0x53).incDword(RESULT + 0x100); // push rbx
  return a.movEbx(LAPIC).storeAtRbx(0xb0, 0).raw(0x5b, 0x48, 0xcf).code(); // EOI; pop rbx; iretq
}

/** Turns the local APIC on and starts its timer, divided by one. */
export function startTimer(a: Assembler, count: number, periodic = false): Assembler {
  a.movEbx(LAPIC).storeAtRbx(0xf0, 0x1ff).storeAtRbx(0x3e0, 0xb);
  return a.storeAtRbx(0x320, TIMER_VECTOR | (periodic ? 0x20000 : 0)).storeAtRbx(0x380, count);
}

const CODE64: VcpuSegment = {
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
const DATA: VcpuSegment = { ...CODE64, selector: 16, type: 3, db: 1, l: 0 };

/** Loads the program and points the vCPU at it, in long mode. */
export function loadToyGuest(vm: VmAccel, program: Assembler): void {
  const handler = CODE + 0x8000;
  vm.ram.write(handler, timerHandler(handler));
  vm.ram.write(program.base, program.code());
  writeTables(vm.ram, handler);
  const image = new VcpuImage(vm.cpus[0].save());
  image.setReg('rip', BigInt(program.base));
  image.setReg('rsp', BigInt(STACK));
  image.setReg('rflags', 2n);
  image.setControl('cr0', 0x80000031n);
  image.setControl('cr3', BigInt(PAGE_TABLES));
  image.setControl('cr4', 0x20n);
  image.setControl('efer', 0x500n);
  image.setSegment('cs', CODE64);
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) image.setSegment(name, DATA);
  image.setTable('gdt', BigInt(GDT), 23);
  image.setTable('idt', BigInt(IDT), 0xfff);
  vm.cpus[0].load(image.data);
}

function writeTables(ram: Ram, handler: number): void {
  ram.writeU64(GDT + 8, 0x00af9b000000ffffn);
  ram.writeU64(GDT + 16, 0x00cf93000000ffffn);
  const gate = IDT + TIMER_VECTOR * 16;
  ram.writeU64(
    gate,
    (BigInt(handler >>> 16) << 48n) | 0x8e00_0008_0000n | BigInt(handler & 0xffff),
  );
  ram.writeU64(gate + 8, 0n);
  const pointers = PAGE_TABLES + 0x1000;
  ram.writeU64(PAGE_TABLES, BigInt(pointers) | 3n);
  for (let gib = 0; gib < 4; gib++) {
    const directory = pointers + 0x1000 * (gib + 1);
    ram.writeU64(pointers + 8 * gib, BigInt(directory) | 3n);
    for (let i = 0; i < 512; i++)
      ram.writeU64(directory + 8 * i, BigInt(gib * 2 ** 30 + i * 2 ** 21) | 0x83n);
  }
}
