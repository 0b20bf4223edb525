/**
 * A bare-metal guest of several processors: the first starts the others by INIT and SIPI, then
 * sends all of them interrupts, round after round. A lost interrupt, or one too many, and the
 * rounds stop: the count of ticks is compared for equality.
 */
import type { VmAccel } from '../../src/accel/contract.js';
import {
  Assembler,
  CODE,
  LAPIC,
  loadToyGuest,
  RESULT,
  TIMER_VECTOR,
} from '../support/toy-guest.js';

/** Where the guest keeps what the tests read. */
export const Smp = {
  ROUNDS: RESULT,
  TICKS: RESULT + 0x100,
  EXPECTED: RESULT + 0x200,
  TICKETS: RESULT + 0x204,
  READY: RESULT + 0x208,
  CPUID: RESULT + 0x1000,
} as const;
export const READY_PORT_VALUE = 0xa9;
/** Rounds between two reports at port 0x80. */
export const REPORT = 16;

const TRAMPOLINE = 0x9000;
const AP_ENTRY = CODE + 0x4000;
const HANDLER = CODE + 0x8000;
const STACKS = 0x90000;
const le32 = (value: number) => [
  value & 0xff,
  (value >>> 8) & 0xff,
  (value >>> 16) & 0xff,
  (value >>> 24) & 0xff,
];

/**
 * 16-bit code at the start vector: descriptor tables, PAE, page tables, long mode, on to AP_ENTRY.
 */
function trampoline(): Buffer {
  const tables = TRAMPOLINE + 0x100;
  const movEax = (value: number) => [0x66, 0xb8, ...le32(value)];
  const code = [
    0xfa,
    0x31,
    0xc0,
    0x8e,
    0xd8, // cli; xor ax, ax; mov ds, ax
    0x66,
    0x0f,
    0x01,
    0x16,
    tables & 0xff,
    tables >> 8, // lgdt
    0x66,
    0x0f,
    0x01,
    0x1e,
    (tables + 8) & 0xff,
    tables >> 8, // lidt
    ...movEax(0x20),
    0x0f,
    0x22,
    0xe0, // CR4.PAE
    ...movEax(0x3000),
    0x0f,
    0x22,
    0xd8, // CR3
    0x66,
    0xb9,
    ...le32(0xc0000080),
    0x0f,
    0x32,
    0x66,
    0x0d,
    ...le32(0x100),
    0x0f,
    0x30, // EFER.LME
    ...movEax(0x80000031),
    0x0f,
    0x22,
    0xc0, // CR0: PE, ET, NE, PG
    0x66,
    0xea,
    ...le32(AP_ENTRY),
    8,
    0,
  ];
  const out = Buffer.alloc(0x110);
  out.set(code);
  out.set([23, 0, ...le32(0x1000)], 0x100);
  out.set([0xff, 0x0f, ...le32(0x2000)], 0x108);
  return out;
}

/**
 * Takes a ticket, a stack by it, notes what CPUID says, reports, and then works a little and
 * sleeps, for ever.
 */
function otherProcessor(): Assembler {
  const a = new Assembler(AP_ENTRY);
  a.movEax(1).raw(0xf0, 0x0f, 0xc1, 0x04, 0x25, ...le32(Smp.TICKETS)); // lock xadd [TICKETS], eax
  // mov r8d, eax; esp = STACKS + (eax + 1) * 4096
  a.raw(0x41, 0x89, 0xc0, 0xc1, 0xe0, 0x0c, 0x05, ...le32(STACKS + 0x1000), 0x89, 0xc4);
  // edi = CPUID + r8d * 16
  a.raw(0x44, 0x89, 0xc7, 0xc1, 0xe7, 0x04, 0x81, 0xc7, ...le32(Smp.CPUID));
  a.movEax(1).raw(0x0f, 0xa2, 0xc1, 0xeb, 24, 0x89, 0x1f); // cpuid; shr ebx, 24; mov [rdi], ebx
  // cpuid; mov [rdi+4], edx; mov [rdi+8], ebx
  a.movEax(0xb).movEcx(1).raw(0x0f, 0xa2, 0x89, 0x57, 4, 0x89, 0x5f, 8);
  a.movEbx(LAPIC).storeAtRbx(0xf0, 0x1ff);
  a.raw(0xf0, 0xff, 0x04, 0x25, ...le32(Smp.READY)).sti(); // lock inc [READY]
  const top = a.here;
  return a.movEcx(200).countDownEcx().hlt().jumpTo(top);
}

function firstProcessor(others: number, spinFirst: boolean): Assembler {
  const a = new Assembler();
  a.movEbx(LAPIC).storeAtRbx(0xf0, 0x1ff).movEdx(0x80);
  if (spinFirst) a.inAlDx(); // the test holds it here
  a.storeAtRbx(0x300, 0xc4500)
    .movEcx(20_000)
    .countDownEcx()
    .storeAtRbx(0x300, 0xc4600 | (TRAMPOLINE >> 12)); // all but self
  const wait = a.here;
  a.loadEax(Smp.READY).raw(0x83, 0xf8, others, 0x75, wait - (a.here + 5)); // cmp eax, others; jne
  a.movEax(READY_PORT_VALUE).outDxAl();
  const top = a.here;
  // add [EXPECTED], others
  a.raw(0x83, 0x04, 0x25, ...le32(Smp.EXPECTED), others).storeAtRbx(0x300, 0xc4000 | TIMER_VECTOR);
  const spin = a.here;
  // cmp eax, [EXPECTED]; jne
  a.loadEax(Smp.TICKS).raw(0x3b, 0x04, 0x25, ...le32(Smp.EXPECTED), 0x75, spin - (a.here + 9));
  a.incDword(Smp.ROUNDS).raw(
    0xf6,
    0x04,
    0x25,
    ...le32(Smp.ROUNDS),
    REPORT - 1,
    0x0f,
    0x85,
    ...le32(top - (a.here + 14)),
  ); // jnz top
  return a.loadEax(Smp.ROUNDS).outDxEax().jumpTo(top);
}

/** lock inc [TICKS], end of interrupt. */
function handler(): Buffer {
  // push rbx
  const a = new Assembler(HANDLER).raw(0x53, 0xf0, 0xff, 0x04, 0x25, ...le32(Smp.TICKS));
  return a.movEbx(LAPIC).storeAtRbx(0xb0, 0).raw(0x5b, 0x48, 0xcf).code();
}

/** spinFirst: the first processor reads port 0x80 before it starts the others. */
export function loadSmpGuest(vm: VmAccel, { spinFirst = false } = {}): void {
  loadToyGuest(vm, firstProcessor(vm.cpuCount - 1, spinFirst));
  vm.ram.write(HANDLER, handler());
  vm.ram.write(TRAMPOLINE, trampoline());
  vm.ram.write(AP_ENTRY, otherProcessor().code());
}
