/**
 * The IDE function of a PIIX3 (Intel 82371SB data sheet, section 2.4): two channels at the ports of
 * old, interrupts 14 and 15, and a bus master in BAR 4. The ports answer whatever the enable bits
 * say: nothing else is there that could.
 */
import type { GuestMemory } from '../../accel/contract.js';
import { allOnes } from '../../base/unsigned.js';
import { array, bool8, record, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { PioHandler } from '../../memory/contract.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts } from '../contain.js';
import type { IrqLine, StateOf } from '../device.js';
import { configField, ConfigLayout } from '../pci/config-space.js';
import { type Bar, PciFunction } from '../pci/function.js';
import { DmaTable, dmaTableState } from './dma-table.js';
import type { IdeDrive, IdePort } from './drive.js';
import { AtaStatus, DeviceBits, DIAGNOSE, Reg } from './drive-state.js';
import { IDE_CHANNELS, idePlaceOf, idePositionOf } from './places.js';

const Control = { NO_INTERRUPT: 0x02, RESET: 0x04, PREVIOUS: 0x80 } as const;
/** IDETIM: firmware sets the highest bit, and drivers look for it. */
const TIMING = [0x40, 0x42] as const;
const ENABLED = 0x8000;
const BUS_MASTER_BAR = 4;
const BUS_MASTER_SIZE = 16;

const channelState = record({ unit: bool8, control: u8, dma: dmaTableState });
export const piixIdeState = vmstate('piix3-ide', 1, {
  config: configField,
  channels: array(channelState, IDE_CHANNELS.length),
});

export class PiixIde extends PciFunction<StateOf<typeof piixIdeState>> {
  readonly vmstate = piixIdeState;
  state = piixIdeState.reset();
  readonly description = 'IDE controller';
  readonly layout = new ConfigLayout({
    vendor: 0x8086,
    device: 0x7010,
    revision: 0,
    classCode: 0x010180,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 0,
  });
  readonly bars: readonly Bar[];
  private readonly channels: readonly Channel[];

  constructor(id: string, ram: GuestMemory, lines: readonly IrqLine[]) {
    super(id);
    for (const at of TIMING) {
      this.layout.register(at, 0, 0xff);
      this.layout.register(at + 1, 0, 0xff);
    }
    this.layout.ioBar(BUS_MASTER_BAR, BUS_MASTER_SIZE);
    this.channels = lines.map(
      (line, n) =>
        new Channel(
          ram,
          line,
          () => this.state.channels[n],
          () => this.busMaster,
        ),
    );
    const ports: PioHandler = {
      pioRead: offset => this.pioRead(offset),
      pioWrite: (offset, _size, value) => this.pioWrite(offset, value),
    };
    this.bars = [
      {
        index: BUS_MASTER_BAR,
        size: BUS_MASTER_SIZE,
        name: `${id} bus master`,
        ports: new ContainedPorts(this, ports),
      },
    ];
  }

  attach(io: IoPorts): void {
    IDE_CHANNELS.forEach(({ command, control }, n) => {
      const channel = this.channels[n];
      io.map(this.id, command, 8, new ContainedPorts(this, channel), 4);
      const single: PioHandler = {
        pioRead: () => channel.readAlternate(),
        pioWrite: (_offset, _size, value) => channel.writeControl(value),
      };
      io.map(this.id, control, 1, new ContainedPorts(this, single));
    });
  }

  /** What a device on this channel has of it; `plug` says which it is. */
  place(bus: number, unit: number): { port: IdePort; plug: (drive: IdeDrive) => void } {
    return this.channels[bus].place(idePlaceOf({ bus, unit }));
  }

  override firmware(): void {
    for (const at of TIMING) this.configWrite(at, 2, ENABLED);
  }

  override afterLoad(): void {
    super.afterLoad();
    for (const channel of this.channels) channel.update();
  }

  override configWrite(offset: number, size: number, value: number): void {
    const before = this.busMaster;
    super.configWrite(offset, size, value);
    if (!before && this.busMaster) for (const channel of this.channels) channel.dmaStarted();
  }

  pioRead(offset: number): number {
    return this.channels[offset >> 3].dma.read(offset & 7);
  }

  pioWrite(offset: number, value: number): void {
    this.channels[offset >> 3].dma.write(offset & 7, value);
  }
}

/** Its registers are in the devices: both take what is written, the chosen one is read. */
class Channel implements PioHandler {
  readonly dma: DmaTable;
  private readonly drives: (IdeDrive | undefined)[] = [undefined, undefined];
  private readonly faces: (ContainedPorts | undefined)[] = [undefined, undefined];

  constructor(
    ram: GuestMemory,
    private readonly line: IrqLine,
    private readonly state: () => StateOf<typeof piixIdeState>['channels'][number],
    private readonly busMaster: () => boolean,
  ) {
    this.dma = new DmaTable(
      ram,
      () => this.state().dma,
      () => this.dmaStarted(),
    );
  }

  place(place: number): { port: IdePort; plug: (drive: IdeDrive) => void } {
    const { dma } = this;
    const { unit } = idePositionOf(place);
    const busMaster = () => this.busMaster();
    return {
      port: {
        place,
        dma: {
          get active() {
            return dma.active && busMaster();
          },
          toGuest: from => dma.toGuest(from),
          fromGuest: to => dma.fromGuest(to),
          stop: () => dma.stop(),
          fail: () => dma.fail(),
        },
        interrupt: rises => {
          if (rises && this.unit === unit) dma.interrupted();
          this.update();
        },
      },
      plug: drive => {
        this.drives[unit] = drive;
        this.faces[unit] = new ContainedPorts(drive, drive);
      },
    };
  }

  dmaStarted(): void {
    this.drives[this.unit]?.contain(() => this.drives[this.unit]?.dmaStarted(), undefined);
  }

  /** Edge triggered at the chips; level here, as the device has it. */
  update(): void {
    const enabled = (this.state().control & Control.NO_INTERRUPT) === 0;
    this.line.set(enabled && (this.drives[this.unit]?.interruptPending ?? false));
  }

  pioRead(offset: number, size: number): number {
    if (offset === Reg.DATA) return this.face?.pioRead(Reg.DATA, size) ?? allOnes(size);
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.read(offset + i);
    return value;
  }

  pioWrite(offset: number, size: number, value: number): void {
    if (offset === Reg.DATA) this.face?.pioWrite(Reg.DATA, size, value);
    else for (let i = 0; i < size; i++) this.write(offset + i, (value >>> (8 * i)) & 0xff);
  }

  readAlternate(): number {
    return this.resets ? AtaStatus.BUSY : (this.face?.pioRead(Reg.ALTERNATE, 1) ?? 0);
  }

  writeControl(value: number): void {
    const s = this.state();
    const resets = (value & ~s.control & Control.RESET) !== 0;
    s.control = value;
    if (resets) this.reset();
    this.update();
  }

  private get unit(): number {
    return this.state().unit ? 1 : 0;
  }

  private get face(): ContainedPorts | undefined {
    return this.faces[this.unit];
  }

  private get resets(): boolean {
    return (this.state().control & Control.RESET) !== 0;
  }

  /** A device that is not there reads as zero, as far as its neighbour answers for it. */
  private read(register: number): number {
    if (this.resets) return AtaStatus.BUSY;
    const previous = (this.state().control & Control.PREVIOUS) !== 0 && register < Reg.STATUS;
    return this.face?.pioRead(register + (previous ? Reg.PREVIOUS : 0), 1) ?? 0;
  }

  private write(register: number, value: number): void {
    const s = this.state();
    s.control &= ~Control.PREVIOUS;
    if (this.resets) return;
    if (register === Reg.STATUS && value !== DIAGNOSE)
      return this.face?.pioWrite(register, 1, value);
    if (register === Reg.DEVICE) s.unit = (value & DeviceBits.UNIT) !== 0;
    if (register === Reg.STATUS) s.unit = false;
    for (const face of this.faces) face?.pioWrite(register, 1, value);
    this.update();
  }

  private reset(): void {
    this.state().unit = false;
    this.dma.stop();
    for (const drive of this.drives) drive?.contain(() => drive.softReset(), undefined);
  }
}
