/** An IDE controller with a disk on a bench, and a guest's driver for it. */
import { PciCommand } from '../../src/hw/pci/config-space.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { AtaDisk } from '../../src/hw/ide/ata-disk.js';
import type { IdeDrive, IdePort } from '../../src/hw/ide/drive.js';
import { PiixIde } from '../../src/hw/ide/piix.js';
import { Bench, settle, TestDisk } from './device-bench.js';

const BASE = 0x1f0;
const CONTROL = 0x3f6;
const TABLE = 0x1000;
export const Ata = { BUSY: 0x80, READY: 0x40, DRQ: 0x08, ERROR: 0x01 } as const;

/** Registers of a command; previous: what is written to each before. */
export interface AtaCommand {
  readonly count?: number;
  readonly lba?: number;
  readonly unit?: number;
  readonly feature?: number;
  readonly wide?: boolean;
}

export class IdeBench {
  readonly bench = new Bench();
  readonly pci: PciBus;
  readonly ide: PiixIde;
  readonly drive: IdeDrive;

  constructor(
    readonly disk = new TestDisk(2048),
    make: (port: IdePort, bench: Bench, disk: TestDisk) => IdeDrive = (port, { clock }) =>
      new AtaDisk('hd', disk, port, clock, 'S1'),
    unit = 0,
  ) {
    const { bus, irqs, vm } = this.bench;
    this.pci = new PciBus(bus.ports, bus.mmio, irqs);
    this.ide = new PiixIde('ide', vm.ram, [irqs.line(14), irqs.line(15)]);
    this.pci.plug(this.ide);
    this.ide.attach(bus.ports);
    const { port, plug } = this.ide.place(0, unit);
    this.drive = make(port, this.bench, disk);
    plug(this.drive);
    this.pci.firmwareSetup();
    this.ide.configWrite(4, 2, PciCommand.IO + PciCommand.MASTER);
    this.drive.reset();
    this.drive.resume();
  }

  get busMaster(): number {
    return this.ide.barAddress(4)!;
  }
  get level(): boolean {
    return this.bench.level(14);
  }
  get alternate(): number {
    return this.bench.vm.in(CONTROL);
  }
  register(n: number): number {
    return this.bench.vm.in(BASE + n);
  }
  control(value: number): void {
    this.bench.vm.out(CONTROL, value);
  }

  command(
    code: number,
    { count = 0, lba = 0, unit = 0, feature = 0, wide }: AtaCommand = {},
  ): void {
    const { vm } = this.bench;
    const out = (register: number, value: number) => vm.out(BASE + register, value & 0xff);
    out(6, 0xe0 + 0x10 * unit + (wide ? 0 : Math.floor(lba / 2 ** 24) & 0x0f));
    if (wide) {
      out(2, count >> 8);
      [24, 32, 40].forEach((bit, n) => out(3 + n, Math.floor(lba / 2 ** bit) & 0xff));
    }
    out(1, feature);
    out(2, count);
    [0, 8, 16].forEach((bit, n) => out(3 + n, Math.floor(lba / 2 ** bit) & 0xff));
    out(7, code);
  }

  /** A packet of ATAPI; limit: bytes of a block of PIO. */
  packet(bytes: readonly number[], { limit = 0xfffe, dma = false } = {}): void {
    this.command(0xa0, { feature: dma ? 1 : 0, lba: limit * 256 });
    const packet = Buffer.alloc(12);
    packet.set(bytes);
    this.give(packet);
  }

  words(n: number): Buffer {
    const b = Buffer.alloc(2 * n);
    for (let i = 0; i < n; i++) b.writeUInt16LE(this.bench.vm.in(BASE, 2), 2 * i);
    return b;
  }
  give(bytes: Buffer): void {
    for (let i = 0; i < bytes.length; i += 2) this.bench.vm.out(BASE, bytes.readUInt16LE(i), 2);
  }

  /** Regions of memory for the next transfer by DMA. */
  table(regions: readonly (readonly [gpa: number, length: number])[]): void {
    const { vm } = this.bench;
    regions.forEach(([gpa, length], n) => {
      const last = n === regions.length - 1 ? 0x8000_0000 : 0;
      vm.ram.writeU32(TABLE + 8 * n, gpa);
      vm.ram.writeU32(TABLE + 8 * n + 4, (length & 0xffff) + last);
    });
    vm.out(this.busMaster + 4, TABLE, 4);
  }
  start(toMemory: boolean): void {
    this.bench.vm.out(this.busMaster, toMemory ? 9 : 1);
  }
  /** Status of the bus master. */
  get master(): number {
    return this.bench.vm.in(this.busMaster + 2);
  }
  async later(): Promise<void> {
    await settle();
    this.bench.host.advance(1);
    await settle();
  }
}
