/**
 * ACPI fixed hardware (ACPI 6.3, section 4.8): PM1a event and control blocks, the PM timer, the
 * power button, S5. The SCI is a level on IRQ 9. There is no SMI: the machine is always in ACPI
 * mode.
 */
import { lowBytes } from '../../base/unsigned.js';
import { u16, u64 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import type { PowerControl } from '../power.js';
import { containedClock, type GuestClock } from '../wiring.js';

/** Shared with the FADT and the DSDT. */
export const PM = {
  BASE: 0x600,
  STATUS: 0,
  ENABLE: 2,
  CONTROL: 4,
  TIMER: 8,
  LENGTH: 12,
  SCI: 9,
  S5_TYPE: 5,
} as const;
const Pm1 = {
  TIMER: 0x0001,
  GLOBAL: 0x0020,
  POWER_BUTTON: 0x0100,
  SLEEP_BUTTON: 0x0200,
  RTC: 0x0400,
  WAKE: 0x8000,
} as const;
const STATUS_BITS =
  Pm1.TIMER | Pm1.GLOBAL | Pm1.POWER_BUTTON | Pm1.SLEEP_BUTTON | Pm1.RTC | Pm1.WAKE;
const ENABLE_BITS = Pm1.TIMER | Pm1.GLOBAL | Pm1.POWER_BUTTON | Pm1.SLEEP_BUTTON | Pm1.RTC;
const Control = { SCI_ENABLE: 0x0001, SLEEP_ENABLE: 0x2000, KEPT: 0x1c02 } as const;
/** The counter is 32 bits wide (TMR_VAL_EXT); its status bit reports each change of the top bit. */
const HALF = 1n << 31n;
const HZ = 3_579_545n;
const SECOND = 1_000_000_000n;

export const pmState = vmstate('acpi-pm', 1, {
  status: u16.mask(STATUS_BITS),
  enable: u16.mask(ENABLE_BITS),
  control: u16.mask(Control.SCI_ENABLE | Control.KEPT).initially(Control.SCI_ENABLE),
  /** Guest time at which the timer's top bit changes next; 0 = not yet computed. */
  nextOverflowNs: u64,
});

export class AcpiPm extends Device<StateOf<typeof pmState>> {
  readonly vmstate = pmState;
  state = pmState.reset();
  private readonly clock: GuestClock;
  private paused = true;
  private timer: { dispose(): void } | undefined;

  constructor(
    id: string,
    private readonly sci: IrqLine,
    clock: GuestClock,
    private readonly power: PowerControl,
  ) {
    super(id);
    this.clock = containedClock(this, clock);
  }

  attach(io: IoPorts): void {
    io.map(this.id, PM.BASE, PM.LENGTH, new ContainedPorts(this, this), 4);
  }

  /** `system_powerdown`. False: the guest has not asked to hear of it. */
  pressPowerButton(): boolean {
    return this.contain(() => {
      this.state.status |= Pm1.POWER_BUTTON;
      this.update();
      return (this.state.enable & Pm1.POWER_BUTTON) !== 0;
    }, false);
  }

  override afterLoad(): void {
    this.update();
  }

  override async pause(): Promise<void> {
    this.paused = true;
    this.timer?.dispose();
    this.timer = undefined;
  }

  override resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.update();
  }

  pioRead(offset: number, size: number): number {
    this.sync();
    const { status, enable, control } = this.state;
    const start = offset & ~3;
    const word =
      start === 0 ? status | (enable << 16) : start === PM.CONTROL ? control : this.ticks();
    return lowBytes(word >>> (8 * (offset - start)), size);
  }

  pioWrite(offset: number, size: number, value: number): void {
    this.sync();
    for (let i = 0; i < size; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    if (offset <= PM.CONTROL + 1 && offset + size > PM.CONTROL + 1) this.sleep();
    this.update();
  }

  private writeByte(offset: number, value: number): void {
    const s = this.state;
    switch (offset) {
      case PM.STATUS:
        s.status &= ~value;
        break; // write one to clear
      case PM.STATUS + 1:
        s.status &= ~(value << 8);
        break;
      case PM.ENABLE:
        s.enable = ((s.enable & 0xff00) | value) & ENABLE_BITS;
        break;
      case PM.ENABLE + 1:
        s.enable = ((s.enable & 0x00ff) | (value << 8)) & ENABLE_BITS;
        break;
      case PM.CONTROL:
        s.control = (s.control & 0xff00) | (value & Control.KEPT) | Control.SCI_ENABLE;
        break;
      case PM.CONTROL + 1:
        s.control = (s.control & 0x00ff) | ((value << 8) & (Control.KEPT | Control.SLEEP_ENABLE));
        break;
      default:
        break; // the timer is read-only
    }
  }

  /** SLP_EN is write-only: it acts and reads as zero. Only S5 exists. */
  private sleep(): void {
    const s = this.state;
    if ((s.control & Control.SLEEP_ENABLE) === 0) return;
    s.control &= ~Control.SLEEP_ENABLE;
    if (((s.control >> 10) & 7) === PM.S5_TYPE) outside(() => this.power.powerOff());
  }

  private ticks(): number {
    return Number(((this.clock.ns() * HZ) / SECOND) & 0xffff_ffffn);
  }

  /** Brings the timer's status bit up to now. */
  private sync(): void {
    const s = this.state;
    const now = this.clock.ns();
    if (s.nextOverflowNs !== 0n && now < s.nextOverflowNs) return;
    if (s.nextOverflowNs !== 0n) s.status |= Pm1.TIMER;
    const half = ((now * HZ) / SECOND / HALF + 1n) * HALF;
    s.nextOverflowNs = (half * SECOND) / HZ + 1n;
  }

  private update(): void {
    const s = this.state;
    this.sci.set((s.status & s.enable) !== 0);
    this.timer?.dispose();
    this.timer = undefined;
    if (this.paused || (s.enable & ~s.status & Pm1.TIMER) === 0) return;
    this.sync();
    this.timer = this.clock.timer(s.nextOverflowNs, () => {
      this.sync();
      this.update();
    });
  }
}
