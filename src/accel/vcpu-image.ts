/**
 * A vCPU's state blob by name: for loaders, which set the registers that a kernel is entered with,
 * and for `info registers`. The layout is that of <linux/kvm.h>, one struct after the other
 * (native/vcpu/image.h).
 */
const REGS = 8; // kvm_regs
const SREGS = 152; // kvm_sregs
const DEBUGREGS = 464; // kvm_debugregs
const XSAVE = 592; // kvm_xsave; begins as fxsave does
const MP_STATE = 5144;
const MSRS = 6176;

const GPRS = [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const),
  ...(['rip', 'rflags'] as const),
] as const;
const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const CONTROLS = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const;
const DEBUGS = ['dr0', 'dr1', 'dr2', 'dr3', 'dr6', 'dr7'] as const;
const SEGMENT_SIZE = 24;
const TABLES = { gdt: SREGS + 8 * SEGMENT_SIZE, idt: SREGS + 8 * SEGMENT_SIZE + 16 } as const;

export type Gpr = (typeof GPRS)[number];
export type SegmentName = (typeof SEGMENTS)[number];
export type ControlRegister = (typeof CONTROLS)[number];
export type DebugRegister = (typeof DEBUGS)[number];

export interface VcpuSegment {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  /** Code or data, not a system segment. */
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
}

const SEGMENT_BYTES = ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const;

export class VcpuImage {
  /** data: what StateBlob.save() gave; changed in place. */
  constructor(readonly data: Buffer) {}

  reg(name: Gpr): bigint {
    return this.data.readBigUInt64LE(REGS + 8 * GPRS.indexOf(name));
  }

  setReg(name: Gpr, value: bigint): void {
    this.data.writeBigUInt64LE(value, REGS + 8 * GPRS.indexOf(name));
  }

  control(name: ControlRegister): bigint {
    return this.data.readBigUInt64LE(controlOffset(name));
  }

  setControl(name: ControlRegister, value: bigint): void {
    this.data.writeBigUInt64LE(value, controlOffset(name));
  }

  debug(name: DebugRegister): bigint {
    return this.data.readBigUInt64LE(DEBUGREGS + 8 * DEBUGS.indexOf(name));
  }

  segment(name: SegmentName): VcpuSegment {
    const at = segmentOffset(name);
    const bytes = SEGMENT_BYTES.map((field, i) => [field, this.data[at + 14 + i]] as const);
    return {
      base: this.data.readBigUInt64LE(at),
      limit: this.data.readUInt32LE(at + 8),
      selector: this.data.readUInt16LE(at + 12),
      ...(Object.fromEntries(bytes) as Record<(typeof SEGMENT_BYTES)[number], number>),
    };
  }

  setSegment(name: SegmentName, segment: VcpuSegment): void {
    const at = segmentOffset(name);
    this.data.writeBigUInt64LE(segment.base, at);
    this.data.writeUInt32LE(segment.limit, at + 8);
    this.data.writeUInt16LE(segment.selector, at + 12);
    SEGMENT_BYTES.forEach((field, i) => (this.data[at + 14 + i] = segment[field]));
  }

  table(name: 'gdt' | 'idt'): { base: bigint; limit: number } {
    return {
      base: this.data.readBigUInt64LE(TABLES[name]),
      limit: this.data.readUInt16LE(TABLES[name] + 8),
    };
  }

  setTable(name: 'gdt' | 'idt', base: bigint, limit: number): void {
    this.data.writeBigUInt64LE(base, TABLES[name]);
    this.data.writeUInt16LE(limit, TABLES[name] + 8);
  }

  /** The x87's words, as fxsave has them. */
  get fpu(): { fcw: number; fsw: number; ftw: number; mxcsr: number } {
    const { data } = this;
    return {
      fcw: data.readUInt16LE(XSAVE),
      fsw: data.readUInt16LE(XSAVE + 2),
      ftw: data[XSAVE + 4],
      mxcsr: data.readUInt32LE(XSAVE + 24),
    };
  }

  /** st: 80 bits. xmm: 128. */
  vector(kind: 'st' | 'xmm', index: number): { low: bigint; high: bigint } {
    const at = XSAVE + (kind === 'st' ? 32 : 160) + 16 * index;
    return { low: this.data.readBigUInt64LE(at), high: this.data.readBigUInt64LE(at + 8) };
  }

  get halted(): boolean {
    return this.data.readUInt32LE(MP_STATE) === 3;
  }

  /** undefined: the backend does not have it. */
  msr(index: number): bigint | undefined {
    const at = this.msrOffset(index);
    return at === undefined ? undefined : this.data.readBigUInt64LE(at + 8);
  }

  /** False: the backend does not have it. */
  setMsr(index: number, value: bigint): boolean {
    const at = this.msrOffset(index);
    if (at !== undefined) this.data.writeBigUInt64LE(value, at + 8);
    return at !== undefined;
  }

  private msrOffset(index: number): number | undefined {
    for (let at = MSRS; at < this.data.length; at += 16)
      if (this.data.readUInt32LE(at) === index) return at;
    return undefined;
  }
}

function segmentOffset(name: SegmentName): number {
  return SREGS + SEGMENT_SIZE * SEGMENTS.indexOf(name);
}

function controlOffset(name: ControlRegister): number {
  return SREGS + 8 * SEGMENT_SIZE + 32 + 8 * CONTROLS.indexOf(name);
}
