/**
 * isa-debug-exit: a test guest's way out. A write of n ends the machine with status 2n+1 (so that 0
 * is never a guest's). Only by -device.
 */
import { VmError } from '../../base/errors.js';
import { record } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { int, optional } from '../../words/types.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type StateOf } from '../device.js';
import { deviceType } from '../device-type.js';

export const debugExitState = vmstate('isa-debug-exit', 1, { none: record({}) });

export class DebugExit extends Device<StateOf<typeof debugExitState>> {
  readonly vmstate = debugExitState;
  state = debugExitState.reset();

  constructor(
    id: string,
    private readonly exit: (status: number) => void,
  ) {
    super(id);
  }

  /** False: the ports that the user chose are taken. */
  attach(io: IoPorts, base: number): boolean {
    return io.tryMap(this.id, base, 4, new ContainedPorts(this, this), 4) !== undefined;
  }

  pioRead(): number {
    return 0;
  }

  pioWrite(_offset: number, _size: number, value: number): void {
    outside(() => this.exit(((value * 2) & 0xff) | 1));
  }
}

export const isaDebugExit = deviceType({
  name: 'isa-debug-exit',
  summary: 'for test guests: what they write there is the exit code',
  properties: {
    iobase: optional(int('I/O port; default 0x501', { min: 0, max: 0xffff })),
    iosize: optional(int('4: how many ports', { min: 1, max: 4 })),
  },
  example: 'iobase=0x501',
  plug(id, { iobase = 0x501, iosize = 4 }, slots) {
    if (iosize !== 4) throw new VmError(`iosize=${iosize} is not supported: it is 4`);
    const where = `0x${iobase.toString(16)}`;
    const device = slots.add(new DebugExit(id, status => slots.exit(status)), `isa ${where}`);
    if (!device.attach(slots.ports, iobase))
      throw new VmError(`-device isa-debug-exit,iobase=${where}: the ports are taken`);
  },
});
