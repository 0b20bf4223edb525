/**
 * isa-debugcon: one port that firmware and test guests write their log to, as QEMU and Bochs have
 * it. There is nothing to wait for: a byte is taken at once, reads say that the port is there, and
 * what a chardev without room does not take is lost, all but the first BUFFER bytes. What a guest
 * wrote is on its way already when a checkpoint is taken, so there is no state.
 */
import { VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import type { CharBackend } from '../../chardev/contract.js';
import { record } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { int, optional, str } from '../../words/types.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type StateOf } from '../device.js';
import { deviceType } from '../device-type.js';
import { containedClock, type GuestClock } from '../wiring.js';

const trace = tracer('debugcon', {
  lost: event<{ id: string; bytes: number }>(),
});

/** What SeaBIOS and OVMF look for at this port before they write to it. */
const READBACK = 0xe9;
const DEFAULT_PORT = 0xe9;
const BUFFER = 4096;

export const debugconState = vmstate('isa-debugcon', 1, { none: record({}) });

export class Debugcon extends Device<StateOf<typeof debugconState>> {
  readonly vmstate = debugconState;
  state = debugconState.reset();
  private readonly clock: GuestClock;
  private readonly gather = Buffer.alloc(BUFFER);
  private gathered = 0;
  private lost = 0;
  private soon: { dispose(): void } | undefined;
  private paused = true;

  constructor(
    id: string,
    private readonly chr: CharBackend,
    private readonly readback: number,
    clock: GuestClock,
  ) {
    super(id);
    this.clock = containedClock(this, clock);
    chr.onRoom(this.guarded(() => this.flush()));
    // It has no way to hear.
    chr.onData(() => undefined);
  }

  /** False: the port that the user chose is taken. */
  attach(io: IoPorts, base: number): boolean {
    return io.tryMap(this.id, base, 1, new ContainedPorts(this, this)) !== undefined;
  }

  override async pause(): Promise<void> {
    this.flush();
    this.paused = true;
  }

  override resume(): void {
    this.paused = false;
    this.flush();
  }

  pioRead(): number {
    return this.readback;
  }

  pioWrite(_offset: number, _size: number, value: number): void {
    if (this.gathered === BUFFER) {
      this.lost++;
      return;
    }
    this.gather[this.gathered++] = value;
    if (this.gathered === BUFFER / 2) this.flush();
    else if (!this.soon && !this.paused) this.soon = this.clock.soon(() => this.flush());
  }

  /** All that was gathered, or nothing if the chardev has no room. */
  private flush(): void {
    this.soon?.dispose();
    this.soon = undefined;
    const { chr, gathered, paused } = this;
    if (paused || gathered === 0 || !outside(() => chr.write(this.gather.subarray(0, gathered))))
      return;
    this.gathered = 0;
    if (this.lost > 0) trace.lost?.({ id: this.id, bytes: this.lost });
    this.lost = 0;
  }
}

export const isaDebugcon = deviceType({
  name: 'isa-debugcon',
  summary: "a port for firmware's log: SeaBIOS writes to 0x402",
  properties: {
    chardev: str('id of the -chardev that gets it', { complete: 'chardevs' }),
    iobase: optional(
      int(`I/O port; default 0x${DEFAULT_PORT.toString(16)}`, { min: 0, max: 0xffff }),
    ),
    readback: optional(
      int(`what a read gives; default 0x${READBACK.toString(16)}`, { min: 0, max: 0xff }),
    ),
  },
  uses: { chardev: 'chardev' },
  example: 'chardev=log0,iobase=0x402',
  plug(id, { chardev, iobase = DEFAULT_PORT, readback = READBACK }, slots) {
    const where = `0x${iobase.toString(16)}`;
    const chr = slots.chardev(chardev, `isa-debugcon '${id}'`);
    const device = slots.add(new Debugcon(id, chr, readback, slots.clock), `isa ${where}`);
    if (!device.attach(slots.ports, iobase))
      throw new VmError(`-device isa-debugcon,iobase=${where}: the port is taken`);
  },
});
