/**
 * The virtio drivers of the toy guest. They keep nothing outside of RAM, so that the guest goes on
 * wherever its state is loaded; a completion is looked for only when its interrupt has come.
 */
import type { SimAccel } from '../support/sim/accel.js';
import { DriverQueue, F, type Part, PciDriver } from '../support/virtio-driver.js';
import { sectorBytes, writeSectors } from './model.js';

const NET_MAC = 5;
const BLK = { FLUSH: 9, DISCARD: 13, WRITE_ZEROES: 14 } as const;
/** What one driver has for itself. */
const AREA_BYTES = 0x8000;
const VECTORS = 3;
/** A ring of 4 ends before this. */
const At = { notify: 0x1e0, seen: 0x1e4, second: 0x200, buffers: 0x400 } as const;
const NET_HEADER = 12;

/** A ring, as the driver sees it again after the machine has moved. */
class Ring {
  readonly avail: number;
  readonly used: number;

  constructor(
    private readonly accel: SimAccel,
    readonly index: number,
    readonly base: number,
    readonly size: number,
  ) {
    this.avail = base + 16 * size;
    this.used = (this.avail + 6 + 2 * size + 3) & ~3;
  }

  private get seen(): number {
    return this.accel.ram.readU16(this.base + At.seen)!;
  }

  private get offered(): number {
    return this.accel.ram.readU16(this.avail + 2)!;
  }

  /** Chains that the device has, or that have not been looked at since. */
  get outstanding(): number {
    return (this.offered - this.seen) & 0xffff;
  }

  /** The device's index register is at notify. */
  offer(first: number, parts: readonly Part[], notify: number): void {
    const { ram } = this.accel;
    parts.forEach((part, i) => {
      const at = this.base + 16 * (first + i);
      const more = i < parts.length - 1;
      ram.writeU64(at, BigInt(part.gpa));
      ram.writeU32(at + 8, part.length);
      ram.writeU16(at + 12, (part.write ? 2 : 0) | (more ? 1 : 0));
      ram.writeU16(at + 14, first + i + 1);
    });
    const { offered } = this;
    ram.writeU16(this.avail + 4 + 2 * (offered % this.size), first);
    ram.writeU16(this.avail + 2, (offered + 1) & 0xffff);
    this.accel.store(notify, this.index, 2);
  }

  /** The next chain that is over: its first descriptor. */
  take(): number | undefined {
    const { ram } = this.accel;
    const { seen } = this;
    if (ram.readU16(this.used + 2) === seen) return undefined;
    ram.writeU16(this.base + At.seen, (seen + 1) & 0xffff);
    return ram.readU32(this.used + 4 + 8 * (seen % this.size));
  }
}

abstract class Driver {
  protected readonly area: number;

  constructor(
    protected readonly accel: SimAccel,
    areas: number,
    /** Of PCI, from 0; the host bridge is not counted. */
    readonly number: number,
  ) {
    this.area = areas + AREA_BYTES * number;
  }

  /** Finds the device and makes its rings. */
  boot(): void {
    const pci = new PciDriver({ vm: this.accel }, this.number + 1);
    pci.negotiate([F.VERSION_1, ...this.features]);
    pci.enableMsix(VECTORS, VECTORS * this.number);
    for (const ring of this.rings) {
      new DriverQueue(pci, ring.index, ring.size, ring.base, false, ring.index);
      this.accel.ram.writeU16(ring.base + At.seen, 0);
      // Each queue has its own register, four bytes from the one before it.
      this.accel.ram.writeU32(ring.base + At.notify, pci.address(2) + 4 * ring.index);
    }
    pci.ready();
  }

  protected abstract readonly rings: readonly Ring[];
  protected abstract readonly features: readonly number[];

  protected offer(ring: Ring, first: number, parts: readonly Part[]): void {
    ring.offer(first, parts, this.accel.ram.readU32(ring.base + At.notify)!);
  }

  /** An interrupt of that ring has come. */
  protected called(ring: Ring): boolean {
    return this.accel.takes(VECTORS * this.number + ring.index);
  }
}

const Type = { IN: 0, OUT: 1, FLUSH: 4, DISCARD: 11, WRITE_ZEROES: 13 } as const;
export const ops = ['write', 'zeroes', 'flush', 'read', 'discard'] as const;
export type Op = (typeof ops)[number];
const typeOf: Readonly<Record<Op, number>> = {
  write: Type.OUT,
  zeroes: Type.WRITE_ZEROES,
  flush: Type.FLUSH,
  read: Type.IN,
  discard: Type.DISCARD,
};

export interface Request {
  readonly op: Op;
  readonly sector: number;
  readonly count: number;
  readonly id: number;
}

/** One request at a time. */
export class BlkDriver extends Driver {
  private readonly ring = new Ring(this.accel, 0, this.area, 4);
  protected readonly rings = [this.ring];
  private readonly header = this.area + At.buffers;
  private readonly status = this.header + 0x10;
  private readonly range = this.header + 0x20;
  private readonly record = this.header + 0x30;
  private readonly data = this.area + 0x1000;

  protected readonly features = [BLK.FLUSH, BLK.DISCARD, BLK.WRITE_ZEROES];

  get idle(): boolean {
    return this.ring.outstanding === 0;
  }

  submit({ op, sector, count, id }: Request): void {
    const { ram } = this.accel;
    const moves = op === 'read' || op === 'write';
    ram.writeU32(this.header, typeOf[op]);
    ram.writeU64(this.header + 8, moves ? BigInt(sector) : 0n);
    [ops.indexOf(op), sector, count, id].forEach((word, i) =>
      ram.writeU32(this.record + 4 * i, word),
    );
    if (op === 'write') ram.write(this.data, writeSectors(id, sector, count));
    ram.writeU64(this.range, BigInt(sector));
    ram.writeU64(this.range + 8, BigInt(count));
    const parts: Part[] = [{ gpa: this.header, length: 16 }];
    if (moves) parts.push({ gpa: this.data, length: count * sectorBytes, write: op === 'read' });
    else if (op !== 'flush') parts.push({ gpa: this.range, length: 16 });
    this.offer(this.ring, 0, [...parts, { gpa: this.status, length: 1, write: true }]);
  }

  /** The request that is over, and what it read. */
  completed(): (Request & { failed: boolean; data: Buffer }) | undefined {
    if (!this.called(this.ring) || this.ring.take() === undefined) return undefined;
    const { ram } = this.accel;
    const [op, sector, count, id] = [0, 1, 2, 3].map(i => ram.readU32(this.record + 4 * i)!);
    const data = ram.read(this.data, count * sectorBytes)!;
    return { op: ops[op], sector, count, id, failed: ram.readU8(this.status) !== 0, data };
  }
}

const TX_BYTES = 0x100;
const RX_BYTES = 0x200;

export class NetDriver extends Driver {
  private readonly rx = new Ring(this.accel, 0, this.area, 4);
  private readonly tx = new Ring(this.accel, 1, this.area + At.second, 2);
  protected readonly rings = [this.rx, this.tx];

  protected readonly features = [NET_MAC];

  override boot(): void {
    super.boot();
    for (let n = 0; n < this.rx.size; n++) this.post(n);
  }

  /** False: the ring is full. */
  send(frame: Uint8Array): boolean {
    while (this.tx.take() !== undefined);
    if (this.tx.outstanding === this.tx.size) return false;
    const n = this.tx.outstanding === 0 ? 0 : this.freeSlot();
    const gpa = this.area + At.buffers + TX_BYTES * n;
    this.accel.ram.fill(gpa, NET_HEADER, 0);
    this.accel.ram.write(gpa + NET_HEADER, frame);
    this.offer(this.tx, n, [{ gpa, length: NET_HEADER + frame.length }]);
    return true;
  }

  /** A frame that has come. */
  received(): Buffer | undefined {
    if (!this.called(this.rx)) return undefined;
    let last: Buffer | undefined;
    for (let n = this.rx.take(); n !== undefined; n = this.rx.take()) {
      last = this.accel.ram.read(this.buffer(n) + NET_HEADER, RX_BYTES - NET_HEADER);
      this.post(n);
    }
    return last;
  }

  private post(n: number): void {
    this.offer(this.rx, n, [{ gpa: this.buffer(n), length: RX_BYTES, write: true }]);
  }

  private buffer(n: number): number {
    return this.area + 0x1000 + RX_BYTES * n;
  }

  /** Of the two, the one that the device does not have. */
  private freeSlot(): number {
    return 1 - this.accel.ram.readU16(this.tx.avail + 4 + 2 * this.lastOffered)!;
  }

  private get lastOffered(): number {
    return (this.accel.ram.readU16(this.tx.avail + 2)! + this.tx.size - 1) % this.tx.size;
  }
}
