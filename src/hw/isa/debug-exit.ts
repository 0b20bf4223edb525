/**
 * isa-debug-exit: a test guest's way out. A write of n ends the machine with status 2n+1 (so that 0
 * is never a guest's). Only by -device.
 */
import { record } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type StateOf } from '../device.js';

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
