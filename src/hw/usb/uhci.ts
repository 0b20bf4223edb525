/**
 * The USB function of a PIIX3 (UHCI Design Guide 1.1; Intel 82371SB data sheet, section 2.6): two
 * ports of full speed. A frame is due with each millisecond of guest time. Guests leave transfers
 * that wait for news in the schedule for ever, so when frames bring nothing several are gone
 * through at once; a register that is touched, or news of a device, ends that.
 */
import type { GuestMemory } from '../../accel/contract.js';
import { lowBytes, or32, without32 } from '../../base/unsigned.js';
import { array, bool8, u16, u32, u64, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { PioHandler } from '../../memory/contract.js';
import { ContainedPorts } from '../contain.js';
import type { StateOf } from '../device.js';
import { configField, ConfigLayout } from '../pci/config-space.js';
import { type Bar, PciFunction } from '../pci/function.js';
import { containedClock, type GuestClock } from '../wiring.js';
import { isOpen, newPort, PORT_STATE, PortBit, readUsbPort, writeUsbPort } from './uhci-port.js';
import { FrameResult, UhciSchedule } from './uhci-schedule.js';
import type { UsbDevice } from './usb-device.js';

export const UHCI_PORTS = 2;

const UhciReg = { COMMAND: 0, STATUS: 2, ENABLE: 4, FRAME: 6, BASE: 8, SOF: 12, PORT: 16 } as const;
const Command = { RUN: 0x01, HOST_RESET: 0x02, GLOBAL_RESET: 0x04, SUSPEND: 0x08 } as const;
const Status = { INTERRUPT: 0x01, ERROR: 0x02, RESUME: 0x04, FATAL: 0x18, HALTED: 0x20 } as const;
const PROCESS_ERROR = 0x10;
const Enable = { ERROR: 0x01, RESUME: 0x02, COMPLETE: 0x04, SHORT: 0x08 } as const;
const REGISTERS_BAR = 4;
const REGISTERS_SIZE = 32;
const FRAME_MASK = 0x7ff;
const LIST_MASK = 0x3ff;
/** Of USB, in BCD: 1.0. */
const RELEASE = { at: 0x60, value: 0x10 } as const;
/** Legacy support: its one bit that does something here lets interrupts out. */
const LEGACY = 0xc0;
const INTERRUPTS_OUT = 0x20;

const FRAME_NS = 1_000_000n;
/** After so many frames that brought nothing, this many are gone through at once. */
const QUIET_FRAMES = 64;
const QUIET_PACE = 8;
/** Frames that were missed by more than this are not made up for. */
const MAX_CATCH_UP = 16;

export const uhciState = vmstate('piix3-usb-uhci', 1, {
  config: configField,
  command: u16.mask(0xff),
  status: u8.mask(0x1f),
  enable: u8.mask(0x0f),
  sof: u8.mask(0x7f).initially(0x40),
  /** What of Status.INTERRUPT it was. */
  complete: bool8,
  short: bool8,
  ports: array(u16.mask(PORT_STATE), UHCI_PORTS),
  base: u32.mask(0xffff_f000),
  /** While it runs: at the time below. */
  frame: u16.mask(FRAME_MASK),
  frameNs: u64,
});

export class Uhci extends PciFunction<StateOf<typeof uhciState>> {
  readonly vmstate = uhciState;
  state = uhciState.reset();
  readonly description = 'USB controller';
  readonly layout = new ConfigLayout({
    vendor: 0x8086,
    device: 0x7020,
    revision: 1,
    classCode: 0x0c0300,
    subsystemVendor: 0x1af4,
    subsystem: 0x1100,
    interruptPin: 4,
  });
  readonly bars: readonly Bar[];
  private readonly devices: (UsbDevice | undefined)[] = Array.from(
    { length: UHCI_PORTS },
    () => undefined,
  );
  private readonly schedule: UhciSchedule;
  private readonly clock: GuestClock;
  private timer: { readonly atNs: bigint; dispose(): void } | undefined;
  private paused = true;
  private quietFrames = 0;

  constructor(id: string, ram: GuestMemory, clock: GuestClock) {
    super(id);
    this.clock = containedClock(this, clock);
    this.layout.ioBar(REGISTERS_BAR, REGISTERS_SIZE);
    this.layout.register(RELEASE.at, RELEASE.value, 0);
    this.layout.register(LEGACY, 0, 0xbf);
    this.layout.register(LEGACY + 1, INTERRUPTS_OUT, INTERRUPTS_OUT);
    this.schedule = new UhciSchedule(ram, address => this.deviceAt(address));
    const ports: PioHandler = {
      pioRead: (offset, size) => this.pioRead(offset, size),
      pioWrite: (offset, size, value) => this.pioWrite(offset, size, value),
    };
    const registers = new ContainedPorts(this, ports);
    const bar = { index: REGISTERS_BAR, size: REGISTERS_SIZE, name: id, widest: 4 } as const;
    this.bars = [{ ...bar, ports: registers }];
  }

  /** Port 0 or 1, which is free. */
  connect(device: UsbDevice, port: number): void {
    this.devices[port] = device;
    const active = () => this.runs && isOpen(this.state.ports[port]);
    device.connect({
      get active() {
        return active();
      },
      attention: this.guarded(() => this.attention(port)),
    });
    this.state.ports[port] = newPort(device);
  }

  deviceOn(port: number): UsbDevice | undefined {
    return this.devices[port];
  }

  // --- Device

  override reset(): void {
    super.reset();
    this.state.config[LEGACY + 1] = INTERRUPTS_OUT;
    this.hostReset();
  }

  override afterLoad(): void {
    super.afterLoad();
    this.quietFrames = 0;
    this.update();
  }

  override async pause(): Promise<void> {
    this.paused = true;
    this.update();
  }

  override resume(): void {
    this.paused = false;
    this.update();
  }

  override configWrite(offset: number, size: number, value: number): void {
    super.configWrite(offset, size, value);
    this.update();
  }

  // --- registers

  pioRead(offset: number, size: number): number {
    let value = 0;
    for (let at = offset & ~1; at < offset + size; at += 2)
      value += this.readWord(at) * 2 ** (8 * (at - offset));
    return lowBytes(Math.floor(value), size);
  }

  /** By words: of one that is written in part, the rest stays as it is. */
  pioWrite(offset: number, size: number, value: number): void {
    this.quietFrames = 0;
    for (let at = offset & ~1; at < offset + size; at += 2) {
      const shift = 8 * (at - offset);
      const word = shift < 0 ? value << 8 : value >>> shift;
      const low = at >= offset ? 0xff : 0;
      const high = at + 1 < offset + size ? 0xff00 : 0;
      this.writeWord(at, word & (low + high), low + high);
    }
    this.update();
  }

  private readWord(at: number): number {
    const { state: s } = this;
    switch (at) {
      case UhciReg.COMMAND:
        return s.command;
      case UhciReg.STATUS:
        return s.status + (this.runs ? 0 : Status.HALTED);
      case UhciReg.ENABLE:
        return s.enable;
      case UhciReg.FRAME:
        return this.frameNow();
      case UhciReg.BASE:
        return s.base & 0xffff;
      case UhciReg.BASE + 2:
        return s.base >>> 16;
      case UhciReg.SOF:
        return s.sof;
      default:
        break;
    }
    const port = (at - UhciReg.PORT) / 2;
    return port in s.ports ? readUsbPort(s.ports[port], this.devices[port]) : 0;
  }

  private writeWord(at: number, bits: number, mask: number): void {
    const { state: s } = this;
    const merged = (old: number) => (old & ~mask) | bits;
    switch (at) {
      case UhciReg.COMMAND:
        return this.order(merged(s.command));
      case UhciReg.STATUS:
        s.status &= ~bits;
        if ((bits & Status.INTERRUPT) !== 0) s.complete = s.short = false;
        return;
      case UhciReg.ENABLE:
        s.enable = merged(s.enable) & 0x0f;
        return;
      case UhciReg.FRAME:
        if (!this.runs) s.frame = merged(s.frame) & FRAME_MASK;
        return;
      case UhciReg.BASE:
        s.base = or32(without32(s.base, 0xffff), merged(s.base & 0xffff) & 0xf000);
        return;
      case UhciReg.BASE + 2:
        s.base = or32(s.base & 0xffff, (merged(s.base >>> 16) & 0xffff) * 0x10000);
        return;
      case UhciReg.SOF:
        s.sof = merged(s.sof) & 0x7f;
        return;
      default:
        break;
    }
    const port = (at - UhciReg.PORT) / 2;
    if (!(port in s.ports)) return;
    // Changes are cleared by ones: the half that was not written has none.
    const old = s.ports[port] & ~(PortBit.CONNECT_CHANGE | PortBit.ENABLE_CHANGE);
    s.ports[port] = writeUsbPort(s.ports[port], (old & ~mask) | bits, this.devices[port]);
  }

  private order(value: number): void {
    const { state: s } = this;
    const before = s.command;
    if ((value & (Command.HOST_RESET | Command.GLOBAL_RESET)) !== 0) {
      this.hostReset();
      if ((value & Command.GLOBAL_RESET) === 0) return;
      for (const device of this.devices) device?.busReset();
      s.command = Command.GLOBAL_RESET;
      return;
    }
    if (this.runs && (value & Command.RUN) === 0) s.frame = this.frameNow();
    s.command = value & 0xff;
    if ((value & ~before & Command.RUN) !== 0) s.frameNs = this.clock.ns();
  }

  /** Of all but the configuration space. */
  private hostReset(): void {
    const { config } = this.state;
    this.state = { ...uhciState.reset(), config, ports: this.devices.map(newPort) };
    this.update();
  }

  // --- time

  private get runs(): boolean {
    return (this.state.command & Command.RUN) !== 0;
  }

  /** Frames are gone through: it is not asleep, and may use memory. */
  private get walks(): boolean {
    return this.runs && (this.state.command & Command.SUSPEND) === 0 && this.busMaster;
  }

  /** Frames that began since the one in the state. */
  private framesSince(): number {
    const ns = this.clock.ns() - this.state.frameNs;
    return ns > 0n ? Number(ns / FRAME_NS) : 0;
  }

  private frameNow(): number {
    const { frame } = this.state;
    return this.runs ? (frame + this.framesSince()) % (FRAME_MASK + 1) : frame;
  }

  /** The interrupt's level, and when to go on: functions of state. */
  private update(): void {
    const { status, enable, complete, short } = this.state;
    const asked =
      ((status & Status.INTERRUPT) !== 0 &&
        ((complete && (enable & Enable.COMPLETE) !== 0) ||
          (short && (enable & Enable.SHORT) !== 0))) ||
      ((status & Status.ERROR) !== 0 && (enable & Enable.ERROR) !== 0) ||
      ((status & Status.RESUME) !== 0 && (enable & Enable.RESUME) !== 0) ||
      (status & Status.FATAL) !== 0;
    const out = (this.state.config[LEGACY + 1] & INTERRUPTS_OUT) !== 0;
    this.setIntx(asked && out);
    this.arm();
  }

  private arm(): void {
    const { timer } = this;
    const pace = this.quietFrames >= QUIET_FRAMES ? QUIET_PACE : 1;
    const atNs = this.state.frameNs + BigInt(pace) * FRAME_NS;
    const wanted = !this.paused && this.walks;
    if (wanted && timer?.atNs === atNs) return;
    timer?.dispose();
    this.timer = undefined;
    if (!wanted) return;
    const armed = this.clock.timer(atNs, () => this.tick());
    this.timer = { atNs, dispose: () => armed.dispose() };
  }

  /** Goes through the frames that are over. */
  private tick(): void {
    this.timer = undefined;
    const s = this.state;
    const due = this.framesSince();
    for (let n = Math.max(0, due - MAX_CATCH_UP); n < due && this.walks; n++)
      this.walk((s.frame + n) & LIST_MASK);
    if (due > 0 && this.runs) {
      s.frame = (s.frame + due) % (FRAME_MASK + 1);
      s.frameNs += BigInt(due) * FRAME_NS;
    }
    this.update();
  }

  private walk(index: number): void {
    const s = this.state;
    const result = this.schedule.frame(s.base + 4 * index);
    this.quietFrames = result === 0 ? this.quietFrames + 1 : 0;
    if ((result & FrameResult.INTERRUPT) !== 0) s.complete = true;
    if ((result & FrameResult.SHORT) !== 0) s.short = true;
    if ((result & (FrameResult.INTERRUPT | FrameResult.SHORT)) !== 0) s.status |= Status.INTERRUPT;
    if ((result & FrameResult.ERROR) !== 0) s.status |= Status.ERROR;
    if ((result & FrameResult.FATAL) === 0) return;
    s.frame = this.frameNow();
    s.status |= PROCESS_ERROR;
    s.command &= ~Command.RUN;
  }

  // --- devices

  private deviceAt(address: number): UsbDevice | undefined {
    const port = this.devices.findIndex(
      (device, n) => device?.address === address && isOpen(this.state.ports[n]),
    );
    // A broken one gives no answer.
    return this.devices[port]?.silent === false ? this.devices[port] : undefined;
  }

  private attention(port: number): void {
    if (this.paused) return;
    this.quietFrames = 0;
    const { state: s } = this;
    const asleep = (s.ports[port] & PortBit.SUSPENDED) !== 0;
    const allAsleep = (s.command & Command.SUSPEND) !== 0;
    if ((asleep || allAsleep) && this.devices[port]?.remoteWakeup) {
      if (asleep) s.ports[port] |= PortBit.RESUME;
      s.status |= Status.RESUME;
    }
    this.update();
  }
}
