/**
 * pc-testdev: what test guests check a processor's accesses with, as QEMU has it and
 * kvm-unit-tests use it. A register of four bytes at port 0xe0; 64 KiB at 0xff000000 that answer as
 * a device does (one page of memory, over and over: more would be more to carry in a checkpoint);
 * at port 0x2000 + n the level of interrupt line n. Port 0xe4 asks the host to forget its mapping
 * of a page: a processor of colo notices nothing of that.
 */
import { VmError } from '../../base/errors.js';
import { bytes, u32 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import type { MmioSpace } from '../../memory/mmio-space.js';
import { ContainedMmio, ContainedPorts } from '../contain.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import { deviceType } from '../device-type.js';

const REGISTER_PORT = 0xe0;
const FLUSH_PORT = 0xe4;
const LINE_PORT = 0x2000;
const LINES = 24;
const MEMORY_AT = 0xff000000;
const MEMORY_BYTES = 0x10000;
const PAGE = 0x1000;

export const pcTestdevState = vmstate('pc-testdev', 1, {
  register: bytes(4),
  lines: u32.range(0, 2 ** LINES - 1),
  memory: bytes(PAGE),
});

const littleEndian = (from: Uint8Array, offset: number, size: number): number => {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + from[(offset + i) % from.length];
  return value;
};

function setLittleEndian(to: Uint8Array, offset: number, size: number, value: number): void {
  for (let i = 0; i < size; i++) to[(offset + i) % to.length] = value >>> (8 * i);
}

export class PcTestdev extends Device<StateOf<typeof pcTestdevState>> {
  readonly vmstate = pcTestdevState;
  state = pcTestdevState.reset();
  private readonly irqs: readonly IrqLine[];

  constructor(id: string, line: (gsi: number) => IrqLine) {
    super(id);
    this.irqs = Array.from({ length: LINES }, (_, gsi) => line(gsi));
  }

  /** False: there is one already. */
  attach(io: IoPorts, mmio: MmioSpace): boolean {
    const flush = { pioRead: () => 0, pioWrite: () => undefined };
    const lines = new ContainedPorts(this, {
      pioRead: () => 0,
      pioWrite: (line, _size, value) => this.drive(line, value !== 0),
    });
    const memory = new ContainedMmio(this, this);
    return (
      io.tryMap(this.id, REGISTER_PORT, 4, new ContainedPorts(this, this), 4) !== undefined &&
      io.tryMap(this.id, FLUSH_PORT, 4, new ContainedPorts(this, flush), 4) !== undefined &&
      io.tryMap(this.id, LINE_PORT, LINES, lines) !== undefined &&
      mmio.tryMap(`${this.id} memory`, MEMORY_AT, MEMORY_BYTES, memory) !== undefined
    );
  }

  pioRead(offset: number, size: number): number {
    return littleEndian(this.state.register, offset, size);
  }

  pioWrite(offset: number, size: number, value: number): void {
    setLittleEndian(this.state.register, offset, size, value);
  }

  mmioRead(offset: number, size: number): number {
    return littleEndian(this.state.memory, offset, size);
  }

  mmioWrite(offset: number, size: number, value: number): void {
    setLittleEndian(this.state.memory, offset, size, value);
  }

  override afterLoad(): void {
    this.irqs.forEach((irq, n) => irq.set(((this.state.lines >>> n) & 1) !== 0));
  }

  private drive(line: number, level: boolean): void {
    const bit = 1 << line;
    this.state.lines = level ? this.state.lines | bit : this.state.lines & ~bit;
    this.irqs[line].set(level);
  }
}

export const pcTestdevDevice = deviceType({
  name: 'pc-testdev',
  summary: 'for test guests: a register, memory of a device, interrupt lines to set',
  properties: {},
  example: '',
  plug(id, _properties, slots) {
    const device = slots.add(
      new PcTestdev(id, gsi => slots.irq(gsi)),
      'isa 0xe0, 0xe4, 0x2000, memory 0xff000000',
    );
    if (!device.attach(slots.ports, slots.mmio))
      throw new VmError('-device pc-testdev: its ports are taken; a machine has one at most');
  },
});
