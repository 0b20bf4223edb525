/**
 * What is left of the keyboard controller (Intel 8042, PC/AT use): the reset pulse and a status
 * that says "nothing here". The FADT says that there is no keyboard, so a guest with ACPI does not
 * look for one.
 */
import { u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type StateOf } from '../device.js';
import type { PowerControl } from '../power.js';

const STATUS_PORT = 4;
const Status = { SYSTEM: 0x04, COMMAND: 0x08, UNLOCKED: 0x10 } as const;
/**
 * 0xf0..0xff pulses the output port's low bits that are zero in the command; bit 0 is the reset
 * line.
 */
const PULSE = 0xf0;
const RESET_LINE = 0x01;

export const i8042State = vmstate('i8042', 1, {
  status: u8
    .mask(Status.SYSTEM | Status.COMMAND | Status.UNLOCKED)
    .initially(Status.SYSTEM | Status.COMMAND | Status.UNLOCKED),
});

export class I8042 extends Device<StateOf<typeof i8042State>> {
  readonly vmstate = i8042State;
  state = i8042State.reset();

  constructor(
    id: string,
    private readonly power: PowerControl,
  ) {
    super(id);
  }

  attach(io: IoPorts): void {
    const status = {
      pioRead: () => this.pioRead(STATUS_PORT),
      pioWrite: (_offset: number, size: number, value: number) =>
        this.pioWrite(STATUS_PORT, size, value),
    };
    io.map(this.id, 0x60, 1, new ContainedPorts(this, this));
    io.map(this.id, 0x64, 1, new ContainedPorts(this, status));
  }

  pioRead(offset: number): number {
    return offset === STATUS_PORT ? this.state.status : 0;
  }

  pioWrite(offset: number, _size: number, value: number): void {
    if (offset !== STATUS_PORT) {
      this.state.status &= ~Status.COMMAND;
      return;
    }
    this.state.status |= Status.COMMAND;
    if ((value & PULSE) === PULSE && (value & RESET_LINE) === 0)
      outside(() => this.power.reset('keyboard controller'));
  }
}
