/** `info registers`: a vCPU's state blob as the lines that QEMU's users know. */
import { type DebugRegister, type Gpr, type SegmentName, VcpuImage } from './vcpu-image.js';

const GPR_ROWS: readonly (readonly Gpr[])[] = [
  ['rax', 'rbx', 'rcx', 'rdx'],
  ['rsi', 'rdi', 'rbp', 'rsp'],
  ['r8', 'r9', 'r10', 'r11'],
  ['r12', 'r13', 'r14', 'r15'],
];
const SEGMENT_ROWS: readonly SegmentName[] = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldt', 'tr'];
const DEBUG_ROWS: readonly (readonly DebugRegister[])[] = [
  ['dr0', 'dr1', 'dr2', 'dr3'],
  ['dr6', 'dr7'],
];
/** From bit 11 downwards, as they are printed. */
const FLAGS = [
  [0x400, 'D'],
  [0x800, 'O'],
  [0x80, 'S'],
  [0x40, 'Z'],
  [0x10, 'A'],
  [0x4, 'P'],
  [0x1, 'C'],
] as const;

export function registerLines(state: Buffer): string[] {
  const image = new VcpuImage(state);
  return [
    ...GPR_ROWS.map(row => row.map(name => `${label(name)}=${hex(image.reg(name), 16)}`).join(' ')),
    ripLine(image),
    ...SEGMENT_ROWS.map(name => segmentLine(image, name)),
    ...(['gdt', 'idt'] as const).map(name => tableLine(image, name)),
    `CR0=${hex(image.control('cr0'), 8)} CR2=${hex(image.control('cr2'), 16)} ` +
      `CR3=${hex(image.control('cr3'), 16)} CR4=${hex(image.control('cr4'), 8)}`,
    ...DEBUG_ROWS.map(row =>
      row.map(name => `${label(name)}=${hex(image.debug(name), 16)}`).join(' '),
    ),
    `EFER=${hex(image.control('efer'), 16)}`,
    ...fpuLines(image),
  ];
}

/** Two registers a line. */
function fpuLines(image: VcpuImage): string[] {
  const { fcw, fsw, ftw, mxcsr } = image.fpu;
  const short = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const st = Array.from({ length: 8 }, (_, i) => {
    const { low, high } = image.vector('st', i);
    return `FPR${i}=${hex(low, 16)} ${hex(high & 0xffffn, 4)}`;
  });
  const xmm = Array.from({ length: 16 }, (_, i) => {
    const { low, high } = image.vector('xmm', i);
    return `XMM${String(i).padStart(2, '0')}=${hex(high, 16)} ${hex(low, 16)}`;
  });
  const pairs = [...st, ...xmm].flatMap((text, i, all) =>
    i % 2 === 0 ? [`${text} ${all[i + 1]}`] : [],
  );
  return [
    `FCW=${short(fcw, 4)} FSW=${short(fsw & ~0x3800, 4)} [ST=${(fsw >> 11) & 7}] ` +
      `FTW=${short(ftw, 2)} MXCSR=${short(mxcsr, 8)}`,
    ...pairs,
  ];
}

/** `$rip`, `$eflags`, `$cr3` of an expression; undefined: no such register. */
export function registerValue(image: VcpuImage, name: string): bigint | undefined {
  const wanted = name === 'eflags' ? 'rflags' : name === 'pc' ? 'rip' : name;
  const gpr = [...GPR_ROWS.flat(), 'rip' as const, 'rflags' as const].find(
    known => known === wanted,
  );
  if (gpr) return image.reg(gpr);
  const control = (['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const).find(
    known => known === wanted,
  );
  if (control) return image.control(control);
  const segment = SEGMENT_ROWS.find(known => known === wanted);
  return segment && BigInt(image.segment(segment).selector);
}

function ripLine(image: VcpuImage): string {
  const flags = Number(image.reg('rflags') & 0xffff_ffffn);
  const letters = FLAGS.map(([bit, letter]) => (flags & bit ? letter : '-')).join('');
  const cpl = image.segment('ss').dpl;
  return (
    `RIP=${hex(image.reg('rip'), 16)} RFL=${hex(BigInt(flags), 8)} [${letters}] CPL=${cpl} II=0 ` +
    `A20=1 SMM=0 HLT=${image.halted ? 1 : 0}`
  );
}

function segmentLine(image: VcpuImage, name: SegmentName): string {
  const s = image.segment(name);
  const attributes =
    (s.type << 8) |
    (s.s << 12) |
    (s.dpl << 13) |
    (s.present << 15) |
    (s.avl << 20) |
    (s.l << 21) |
    (s.db << 22) |
    (s.g << 23);
  const words = [
    hex(BigInt(s.selector), 4),
    hex(s.base, 16),
    hex(BigInt(s.limit), 8),
    hex(BigInt(attributes), 8),
  ];
  return `${label(name)}=${words.join(' ')}`;
}

function tableLine(image: VcpuImage, name: 'gdt' | 'idt'): string {
  const { base, limit } = image.table(name);
  return `${label(name)}=     ${hex(base, 16)} ${hex(BigInt(limit), 8)}`;
}

function label(name: string): string {
  return name.toUpperCase().padEnd(3);
}

function hex(value: bigint, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
