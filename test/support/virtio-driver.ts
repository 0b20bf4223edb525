/**
 * The driver's side of modern virtio over PCI (virtio 1.1, sections 2.6, 3.1, 4.1): finds its
 * function, negotiates, builds rings in RAM.
 */
import type { FakeVm } from './fake-vm.js';

export const F = { INDIRECT: 28, EVENT_IDX: 29, VERSION_1: 32 } as const;
const Status = { ACKNOWLEDGE: 1, DRIVER: 2, DRIVER_OK: 4, FEATURES_OK: 8 } as const;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

export interface Part {
  gpa: number;
  length: number;
  write?: boolean;
}

/** A machine whose guest the driver is part of. */
export interface DriverBench {
  readonly vm: FakeVm;
}

export class PciDriver {
  readonly bars: number[] = [];
  readonly caps = new Map<number, { bar: number; offset: number; length: number; at: number }>();
  msixAt = 0;

  constructor(
    readonly bench: DriverBench,
    readonly slot: number,
  ) {
    if (this.config(0) === 0xffff_ffff) return; // nobody there
    for (let i = 0; i < 2; i++) this.bars.push((this.config(0x10 + 4 * i) & ~0xf) >>> 0);
    for (let at = this.config(0x34, 1); at !== 0; at = this.config(at + 1, 1)) {
      const id = this.config(at, 1);
      if (id === 0x11) this.msixAt = at;
      if (id === 0x09)
        this.caps.set(this.config(at + 3, 1), {
          bar: this.config(at + 4, 1),
          offset: this.config(at + 8),
          length: this.config(at + 12),
          at,
        });
    }
    this.setConfig(0x04, 0x0006, 2);
  }

  config(offset: number, size = 4): number {
    this.select(offset);
    return this.bench.vm.in(0xcfc + (offset & 3), size);
  }

  setConfig(offset: number, value: number, size = 4): void {
    this.select(offset);
    this.bench.vm.out(0xcfc + (offset & 3), value, size);
  }

  get common(): number {
    return this.address(1);
  }

  address(type: number): number {
    const cap = this.caps.get(type)!;
    return this.bars[cap.bar] + cap.offset;
  }

  read(offset: number, size = 4): number {
    return Number(this.bench.vm.load(this.common + offset, size));
  }

  write(offset: number, value: number, size = 4): void {
    this.bench.vm.store(this.common + offset, value, size);
  }

  get status(): number {
    return this.read(0x14, 1);
  }

  set status(value: number) {
    this.write(0x14, value, 1);
  }

  get offered(): bigint {
    const half = (select: number) => {
      this.write(0x00, select);
      return BigInt(this.read(0x04));
    };
    return half(0) | (half(1) << 32n);
  }

  /** Up to FEATURES_OK. Returns what was accepted. */
  negotiate(wanted: readonly number[]): bigint {
    this.status = 0;
    this.status = Status.ACKNOWLEDGE;
    this.status |= Status.DRIVER;
    const mask = wanted.reduce((m, bit) => m | (1n << BigInt(bit)), 0n) & this.offered;
    for (const select of [0, 1]) {
      this.write(0x08, select);
      this.write(0x0c, Number((mask >> BigInt(32 * select)) & 0xffff_ffffn));
    }
    this.status |= Status.FEATURES_OK;
    return mask;
  }

  ready(): void {
    this.status |= Status.DRIVER_OK;
  }

  /** Vector i -> address 0xfee00000, data first + i. */
  enableMsix(vectors: number, first = 0x40): void {
    for (let i = 0; i < vectors; i++) {
      const at = this.bars[1] + 16 * i;
      [0xfee0_0000, 0, first + i, 0].forEach((value, word) =>
        this.bench.vm.store(at + 4 * word, value),
      );
    }
    this.setConfig(this.msixAt + 2, 0x8000, 2);
  }

  private select(offset: number): void {
    this.bench.vm.out(0xcf8, (0x8000_0000 | (this.slot << 11) | (offset & 0xfc)) >>> 0, 4);
  }
}

export class DriverQueue {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  private nextDesc = 0;
  private availIdx = 0;
  lastUsed = 0;

  constructor(
    readonly driver: PciDriver,
    readonly index: number,
    readonly size: number,
    base: number,
    private readonly eventIdx = false,
    vector = 0xffff,
  ) {
    this.desc = base;
    this.avail = base + 16 * size;
    this.used = (this.avail + 6 + 2 * size + 3) & ~3;
    this.ram.write(base, Buffer.alloc(this.used + 6 + 8 * size - base));
    driver.write(0x16, index, 2);
    driver.write(0x18, size, 2);
    driver.write(0x1a, vector, 2);
    [this.desc, this.avail, this.used].forEach((gpa, i) => {
      driver.write(0x20 + 8 * i, gpa);
      driver.write(0x24 + 8 * i, 0);
    });
    driver.write(0x1c, 1, 2);
  }

  private get ram() {
    return this.driver.bench.vm.ram;
  }

  descriptor(
    i: number,
    part: { gpa: number; length: number },
    flags: number,
    next: number,
    table = this.desc,
  ): void {
    this.ram.writeU64(table + 16 * i, BigInt(part.gpa));
    this.ram.writeU32(table + 16 * i + 8, part.length);
    this.ram.writeU16(table + 16 * i + 12, flags);
    this.ram.writeU16(table + 16 * i + 14, next);
  }

  /** Puts a chain into the available ring; returns its head. */
  add(parts: readonly Part[]): number {
    const head = this.nextDesc;
    parts.forEach((part, i) => {
      const at = (head + i) % this.size;
      const last = i === parts.length - 1;
      this.descriptor(at, part, (part.write ? WRITE : 0) | (last ? 0 : NEXT), (at + 1) % this.size);
    });
    this.nextDesc = (head + parts.length) % this.size;
    return this.expose(head);
  }

  /** The same through an indirect table at gpa. */
  addIndirect(parts: readonly Part[], gpa: number): number {
    parts.forEach((part, i) =>
      this.descriptor(
        i,
        part,
        (part.write ? WRITE : 0) | (i === parts.length - 1 ? 0 : NEXT),
        i + 1,
        gpa,
      ),
    );
    const head = this.nextDesc;
    this.descriptor(head, { gpa, length: 16 * parts.length }, INDIRECT, 0);
    this.nextDesc = (head + 1) % this.size;
    return this.expose(head);
  }

  expose(head: number): number {
    this.ram.writeU16(this.avail + 4 + 2 * (this.availIdx % this.size), head);
    this.availIdx = (this.availIdx + 1) & 0xffff;
    this.ram.writeU16(this.avail + 2, this.availIdx);
    return head;
  }

  setAvailIdx(value: number): void {
    this.ram.writeU16(this.avail + 2, value);
  }

  kick(): void {
    this.driver.bench.vm.store(this.driver.address(2) + 4 * this.index, this.index, 2);
  }

  get availEvent(): number {
    return this.ram.readU16(this.used + 4 + 8 * this.size)!;
  }

  get wantsKick(): boolean {
    return (this.ram.readU16(this.used)! & 1) === 0;
  }

  /** Asks for an interrupt when used index n has been written (event idx). */
  setUsedEvent(n: number): void {
    this.ram.writeU16(this.avail + 4 + 2 * this.size, n);
  }

  /** Completions since the last call. */
  take(): { head: number; length: number }[] {
    const out: { head: number; length: number }[] = [];
    const idx = this.ram.readU16(this.used + 2)!;
    for (; this.lastUsed !== idx; this.lastUsed = (this.lastUsed + 1) & 0xffff) {
      const at = this.used + 4 + 8 * (this.lastUsed % this.size);
      out.push({ head: this.ram.readU32(at)!, length: this.ram.readU32(at + 4)! });
    }
    if (this.eventIdx) this.setUsedEvent(this.lastUsed);
    return out;
  }
}
