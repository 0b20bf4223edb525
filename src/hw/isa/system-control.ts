/**
 * Port 0x92 (PS/2 system control port A: fast reset, A20) and port 0x80 (POST codes, and the delay
 * of an I/O write).
 */
import { u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type StateOf } from '../device.js';
import type { PowerControl } from '../power.js';

const FAST_RESET = 0x01;
const A20 = 0x02;

/** A20 is always on: this machine has no memory wrap at 1 MiB. */
export const systemControlState = vmstate('port92', 1, { control: u8.initially(A20), post: u8 });

export class SystemControl extends Device<StateOf<typeof systemControlState>> {
  readonly vmstate = systemControlState;
  state = systemControlState.reset();

  constructor(
    id: string,
    private readonly power: PowerControl,
  ) {
    super(id);
  }

  attach(io: IoPorts): void {
    const post = {
      pioRead: () => this.state.post,
      pioWrite: (_offset: number, _size: number, value: number) => void (this.state.post = value),
    };
    io.map(this.id, 0x92, 1, new ContainedPorts(this, this));
    io.map(this.id, 0x80, 1, new ContainedPorts(this, post));
  }

  pioRead(): number {
    return this.state.control;
  }

  pioWrite(_offset: number, _size: number, value: number): void {
    const rises = (value & ~this.state.control & FAST_RESET) !== 0;
    this.state.control = value | A20;
    if (rises) outside(() => this.power.reset('port 0x92'));
  }
}
