/** A guest's driver of a UHCI: queues of transfers in guest memory, and requests to devices. */
import { Pid } from '../../src/hw/usb/contract.js';
import { PciCommand } from '../../src/hw/pci/config-space.js';
import type { FakeVm } from './fake-vm.js';
import type { FullBoard } from './full-board.js';

const LIST = 0x1000;
const QUEUE = 0x3000;
const TRANSFERS = 0x4000;
const BUFFERS = 0x8000;
const END = 1;
const IS_QUEUE = 2;
const DEPTH_FIRST = 4;
const ACTIVE = 1 << 23;
const THREE_ERRORS = 3 << 27;
export const UhciPort = { COMMAND: 0, STATUS: 2, ENABLE: 4, FRAME: 6, BASE: 8, PORT: 16 } as const;

export interface TransferWish {
  readonly pid: number;
  readonly address?: number;
  readonly endpoint?: number;
  /** Of an IN: how many bytes there is room for. */
  readonly length?: number;
  readonly data?: Buffer;
  /** More bits of its second word. */
  readonly bits?: number;
}

export interface TransferEnd {
  readonly control: number;
  readonly active: boolean;
  readonly bytes: Buffer;
}

export class UhciDriver {
  constructor(
    readonly vm: FakeVm,
    readonly base: number,
    private readonly advance: (ms: number) => void,
  ) {}

  get(register: number): number {
    return this.vm.in(this.base + register, 2);
  }
  set(register: number, value: number): void {
    this.vm.out(this.base + register, value, 2);
  }

  /** Every frame leads to one queue. */
  start(): void {
    const { ram } = this.vm;
    for (let n = 0; n < 1024; n++) ram.writeU32(LIST + 4 * n, QUEUE + IS_QUEUE);
    ram.writeU32(QUEUE, END);
    ram.writeU32(QUEUE + 4, END);
    this.vm.out(this.base + UhciPort.BASE, LIST, 4);
    this.set(UhciPort.ENABLE, 0x0f);
    this.set(UhciPort.COMMAND, 1);
  }

  /** n: 0 or 1. The device has address 0 then. */
  resetPort(n = 0): void {
    const at = UhciPort.PORT + 2 * n;
    this.set(at, 0x0200);
    this.set(at, 0);
    this.set(at, 0x000e);
  }

  /** Puts transfers into the queue. */
  queue(wishes: readonly TransferWish[]): void {
    const { ram } = this.vm;
    wishes.forEach((wish, n) => {
      const { pid, address = 0, endpoint = 0, data, length = data?.length ?? 0, bits = 0 } = wish;
      const at = TRANSFERS + 32 * n;
      const last = n === wishes.length - 1;
      ram.writeU32(at, last ? END : at + 32 + DEPTH_FIRST);
      ram.writeU32(at + 4, ACTIVE + THREE_ERRORS + bits);
      ram.writeU32(at + 8, (((length - 1) << 21) | (endpoint << 15) | (address << 8) | pid) >>> 0);
      ram.writeU32(at + 12, BUFFERS + 64 * n);
      if (data) ram.write(BUFFERS + 64 * n, data);
    });
    ram.writeU32(QUEUE + 4, TRANSFERS);
  }

  /** What became of transfer n. */
  end(n = 0): TransferEnd {
    const { ram } = this.vm;
    const control = ram.readU32(TRANSFERS + 32 * n + 4)!;
    const length = (control + 1) & 0x7ff;
    return {
      control,
      active: (control & ACTIVE) !== 0,
      bytes: ram.read(BUFFERS + 64 * n, length)!,
    };
  }

  run(wishes: readonly TransferWish[], ms = 8): TransferEnd[] {
    this.queue(wishes);
    this.advance(ms);
    return wishes.map((_, n) => this.end(n));
  }

  /** undefined: refused, or no answer. */
  ask(address: number, code: number, value: number, length: number, index = 0): Buffer | undefined {
    const pieces = Array.from({ length: Math.ceil(length / 8) }, (_, n) => ({
      pid: Pid.IN,
      address,
      length: Math.min(8, length - 8 * n),
    }));
    const setup = { pid: Pid.SETUP, address, data: request(code, value, index, length) };
    const all: Buffer[] = [];
    if (this.run([setup])[0].control & 0x0040_0000) return undefined;
    for (const piece of pieces) {
      const [end] = this.run([piece]);
      if ((end.control & 0x0040_0000) !== 0) return undefined;
      all.push(end.bytes);
      if (end.bytes.length < piece.length) break;
    }
    this.run([{ pid: Pid.OUT, address }]);
    return Buffer.concat(all);
  }

  /** False: refused, or no answer. */
  order(address: number, code: number, value: number, index = 0, data = Buffer.alloc(0)): boolean {
    const wishes = [
      { pid: Pid.SETUP, address, data: request(code, value, index, data.length) },
      ...(data.length > 0 ? [{ pid: Pid.OUT, address, data }] : []),
      { pid: Pid.IN, address, length: 0 },
    ];
    const ends = this.run(wishes);
    return ends.every(({ control }) => (control & 0x00c0_0000) === 0);
  }

  /** Port n, as a driver sets up what it finds there. */
  setUp(n: number, address: number): void {
    this.resetPort(n);
    this.order(0, 0x0005, address);
    this.order(address, 0x0009, 1);
  }

  /** undefined: there is no news. */
  news(address: number, length = 8): Buffer | undefined {
    const [{ active, bytes }] = this.run([{ pid: Pid.IN, address, endpoint: 1, length }]);
    return active ? undefined : bytes;
  }
}

/** For the controller of a whole board. */
export function usbDriver(it: FullBoard): UhciDriver {
  const fn = it.board.pci.functions().find(({ id }) => id === 'uhci0')!;
  fn.configWrite(4, 2, PciCommand.IO + PciCommand.MASTER);
  return new UhciDriver(it.vm, fn.barAddress(4)!, ms => it.host.advance(ms));
}

export function request(code: number, value: number, index: number, length: number): Buffer {
  const b = Buffer.alloc(8);
  b.writeUInt16BE(code, 0);
  b.writeUInt16LE(value, 2);
  b.writeUInt16LE(index, 4);
  b.writeUInt16LE(length, 6);
  return b;
}
