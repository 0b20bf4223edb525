/** An e1000 on a bench, and a guest's driver for it: registers, both rings, its EEPROM by wire. */
import { E1000 } from '../../src/hw/net/e1000/e1000.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { PciCommand } from '../../src/hw/pci/config-space.js';
import { intxGsi } from '../../src/hw/pci/pirq.js';
import { Bench, TestNet } from './device-bench.js';
import type { FakeVm } from './fake-vm.js';

export const R = {
  CTRL: 0x0000,
  STATUS: 0x0008,
  EECD: 0x0010,
  EERD: 0x0014,
  MDIC: 0x0020,
  VET: 0x0038,
  ICR: 0x00c0,
  ICS: 0x00c8,
  IMS: 0x00d0,
  IMC: 0x00d8,
  RCTL: 0x0100,
  TCTL: 0x0400,
  RDBAL: 0x2800,
  RDH: 0x2810,
  RDT: 0x2818,
  TDBAL: 0x3800,
  TDH: 0x3810,
  TDT: 0x3818,
  MTA: 0x5200,
  RAL: 0x5400,
  VFTA: 0x5600,
} as const;

export interface ReceivedBuffer {
  readonly length: number;
  readonly status: number;
  readonly tag: number;
  readonly bytes: Buffer;
}

export class E1000Driver {
  static readonly RX_RING = 0x10000;
  static readonly TX_RING = 0x20000;
  static readonly RX_BUFFERS = 0x100000;
  static readonly TX_BUFFERS = 0x200000;
  private txTail = 0;
  private rxTail = 0;
  private rxTaken = 0;

  constructor(
    private readonly vm: FakeVm,
    readonly base: number,
    readonly slots = 16,
  ) {}

  get(register: number): number {
    return Number(this.vm.load(this.base + register, 4));
  }
  set(register: number, value: number): void {
    this.vm.store(this.base + register, value, 4);
  }

  /** Both rings, enabled; rctl, tctl: besides. */
  start({ rctl = 0x0400_8000, tctl = 0 } = {}): void {
    this.ring(R.TDBAL, E1000Driver.TX_RING);
    this.ring(R.RDBAL, E1000Driver.RX_RING);
    this.set(R.TCTL, tctl + 2);
    this.set(R.RCTL, rctl + 2);
  }
  private ring(register: number, at: number): void {
    this.set(register, at);
    this.set(register + 4, 0);
    this.set(register + 8, 16 * this.slots);
    this.set(register + 0x10, 0);
    this.set(register + 0x18, 0);
  }

  /** One more descriptor of the transmit ring: its four words. */
  queue(words: readonly number[]): number {
    const n = this.txTail;
    words.forEach((word, i) =>
      this.vm.ram.writeU32(E1000Driver.TX_RING + 16 * n + 4 * i, word >>> 0),
    );
    this.txTail = (n + 1) % this.slots;
    return n;
  }
  /** The bytes, at an address of their own. */
  data(bytes: Uint8Array, at = E1000Driver.TX_BUFFERS + 0x1000 * this.txTail): number {
    this.vm.ram.write(at, bytes);
    return at;
  }
  kick(): void {
    this.set(R.TDT, this.txTail);
  }
  /** A frame in a descriptor of the old kind. command: besides its end and a report. */
  send(bytes: Uint8Array, command = 0, more = 0): number {
    const at = this.data(bytes);
    const n = this.queue([at, 0, bytes.length + ((command | 0x09) << 24), more]);
    this.kick();
    return n;
  }
  /** The status of a descriptor. */
  done(n: number): number {
    return this.vm.ram.readU8(E1000Driver.TX_RING + 16 * n + 12)!;
  }

  /** Buffers for what comes. */
  offer(count: number, address?: number): void {
    for (let i = 0; i < count; i++) {
      const at = address ?? E1000Driver.RX_BUFFERS + 0x4000 * this.rxTail;
      const descriptor = E1000Driver.RX_RING + 16 * this.rxTail;
      for (const [n, word] of [at, 0, 0, 0].entries())
        this.vm.ram.writeU32(descriptor + 4 * n, word);
      this.rxTail = (this.rxTail + 1) % this.slots;
    }
    this.set(R.RDT, this.rxTail);
  }
  /** The buffers that have come back. */
  take(): ReceivedBuffer[] {
    const { ram } = this.vm;
    const taken: ReceivedBuffer[] = [];
    for (; ; this.rxTaken = (this.rxTaken + 1) % this.slots) {
      const at = E1000Driver.RX_RING + 16 * this.rxTaken;
      const status = ram.readU8(at + 12)!;
      if (this.rxTaken === this.rxTail || (status & 1) === 0) return taken;
      const length = ram.readU16(at + 8)!;
      const bytes = ram.read(ram.readU32(at)!, length)!;
      taken.push({ length, status, tag: ram.readU16(at + 14)!, bytes });
    }
  }

  /** Bit by bit. */
  eepromByWire(address: number): number {
    const set = (bits: number) => this.set(R.EECD, 0x42 + bits);
    const clock = (bits: number) => {
      set(bits);
      set(bits + 1);
      set(bits);
    };
    this.set(R.EECD, 0);
    set(0);
    for (let n = 8; n >= 0; n--) clock(((0x180 + address) >> n) & 1 ? 4 : 0);
    let value = 0;
    for (let n = 0; n < 16; n++) {
      set(1);
      value = value * 2 + ((this.get(R.EECD) >> 3) & 1);
      set(0);
    }
    this.set(R.EECD, 0);
    return value;
  }
  eeprom(address: number): number {
    this.set(R.EERD, address * 0x100 + 1);
    const answer = this.get(R.EERD);
    return (answer & 0x10) !== 0 ? answer >>> 16 : -1;
  }
  phy(register: number, value?: number): number {
    const op = value === undefined ? 0x0800_0000 : 0x0400_0000 + value;
    this.set(R.MDIC, op + 0x0020_0000 + register * 0x10000);
    return this.get(R.MDIC);
  }
}

export const CARD_MAC = Buffer.from('525400123456', 'hex');

export const frame = (length: number, to: Buffer = CARD_MAC, fill = 0x55): Buffer =>
  Buffer.concat([to, Buffer.alloc(6, 2), Buffer.from([8, 0]), Buffer.alloc(length - 14, fill)]);

export class E1000Bench extends Bench {
  readonly net = new TestNet();
  readonly pci: PciBus;
  readonly card: E1000;
  readonly driver: E1000Driver;

  constructor() {
    super();
    this.pci = new PciBus(this.bus.ports, this.bus.mmio, this.irqs);
    this.card = new E1000('nic', this.vm.ram, this.clock, this.net.netdev, CARD_MAC);
    this.pci.plug(this.card);
    this.pci.firmwareSetup();
    const command = PciCommand.IO + PciCommand.MEMORY + PciCommand.MASTER;
    this.card.configWrite(4, 2, command);
    this.card.resume();
    this.driver = new E1000Driver(this.vm, this.card.barAddress(0)!);
  }

  get interrupt(): boolean {
    return this.level(intxGsi(1, 0));
  }

  /** Goes on with another bench's card and memory. */
  async adopt(from: E1000Bench): Promise<void> {
    await from.card.pause();
    await this.card.pause();
    this.vm.ram.write(0, from.vm.ram.read(0, from.vm.ram.size)!);
    const { vmstate, state } = from.card;
    this.card.state = vmstate.parse(vmstate.save(state), vmstate.version);
    this.card.afterLoad();
    this.card.resume();
  }
}
