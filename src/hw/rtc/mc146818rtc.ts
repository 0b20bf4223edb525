/**
 * MC146818 real-time clock with CMOS RAM (Motorola data sheet; PC use of the RAM bytes as in the
 * IBM AT reference). Its time is the host's wall time plus an offset that the guest sets, so that
 * after a failover it is right again. Flags are computed when they are read; timers run only for
 * enabled interrupts.
 */
import { VmError } from '../../base/errors.js';
import { bytes, u53, u64, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { ContainedPorts } from '../contain.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import { containedClock, type GuestClock } from '../wiring.js';

const Reg = {
  SECONDS: 0,
  MINUTES: 2,
  HOURS: 4,
  WEEKDAY: 6,
  DAY: 7,
  MONTH: 8,
  YEAR: 9,
  A: 10,
  B: 11,
  C: 12,
  D: 13,
  CENTURY: 0x32,
} as const;
const A = { UIP: 0x80, DIVIDER: 0x70, DIVIDER_RUNS: 0x20, RATE: 0x0f } as const;
const B = { SET: 0x80, PIE: 0x40, AIE: 0x20, UIE: 0x10, BINARY: 0x04, HOURS_24: 0x02 } as const;
const C = { IRQF: 0x80, PF: 0x40, AF: 0x20, UF: 0x10 } as const;
const VALID_RAM = 0x80;
const ANY = 0xc0;
/** Update cycle announced before the second turns: 244 us. */
const UIP_MS = 0.244;
const DAY_SECONDS = 86_400;
const MAX_OFFSET = 1n << 52n;

export const rtcState = vmstate(
  'mc146818rtc',
  1,
  {
    index: u8.mask(0x7f),
    a: u8.mask(0x7f).initially(0x26),
    b: u8.initially(0x02),
    /** PF, AF, UF; IRQF derives. */
    flags: u8.mask(C.PF | C.AF | C.UF),
    /** Set time and alarm registers and the RAM behind them. */
    cmos: bytes(128),
    /** Our time minus the host's wall time, ms, two's complement. */
    offsetMs: u64,
    /** The second up to which alarm and update flags were computed; 0 = never. */
    lastSecond: u53,
    nextPeriodicNs: u64,
  },
  s => {
    const offset = BigInt.asIntN(64, s.offsetMs);
    if (offset > MAX_OFFSET || offset < -MAX_OFFSET) throw new VmError('offsetMs out of range');
  },
);

export class Mc146818Rtc extends Device<StateOf<typeof rtcState>> {
  /** What the battery keeps over a reset. */
  static readonly batteryBacked = ['cmos', 'offsetMs'] as const;
  readonly vmstate = rtcState;
  state = rtcState.reset();
  private readonly clock: GuestClock;
  private paused = true;
  private timer: { dispose(): void } | undefined;

  /**
   * ram: bytes below and above 4 GiB, for the memory-size bytes. told: other bytes that the battery
   * kept from the factory, by index.
   */
  constructor(
    id: string,
    private readonly irq: IrqLine,
    clock: GuestClock,
    private readonly ram: { low: number; high: number },
    private readonly told: ReadonlyMap<number, number> = new Map(),
  ) {
    super(id);
    this.clock = containedClock(this, clock);
  }

  attach(io: IoPorts): void {
    io.map(this.id, 0x70, 2, new ContainedPorts(this, this));
  }

  override reset(): void {
    const { cmos, offsetMs } = this.state;
    super.reset();
    this.state = { ...this.state, cmos, offsetMs };
    this.afterLoad();
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
    this.sync();
  }

  pioRead(offset: number): number {
    if (offset === 0) return 0xff; // the index is write-only
    const { state: s } = this;
    switch (s.index) {
      case Reg.A:
        return s.a | (this.updateInProgress() ? A.UIP : 0);
      case Reg.B:
        return s.b;
      case Reg.C:
        return this.readC();
      case Reg.D:
        return VALID_RAM;
      default:
        break;
    }
    if (isTime(s.index)) this.refresh();
    return this.memorySize(s.index) ?? this.told.get(s.index) ?? s.cmos[s.index];
  }

  pioWrite(offset: number, _size: number, value: number): void {
    const s = this.state;
    if (offset === 0) {
      s.index = value & 0x7f;
      return;
    }
    switch (s.index) {
      case Reg.A:
        this.writeA(value & 0x7f);
        break;
      case Reg.B:
        this.writeB(value);
        break;
      case Reg.C:
      case Reg.D:
        break;
      default:
        this.writeRam(s.index, value);
    }
  }

  // --- time

  /** Milliseconds since 1970 on our dial. */
  private nowMs(): number {
    return this.clock.wallMs() + Number(BigInt.asIntN(64, this.state.offsetMs));
  }

  private get ticking(): boolean {
    return (this.state.b & B.SET) === 0 && (this.state.a & A.DIVIDER) === A.DIVIDER_RUNS;
  }

  private updateInProgress(): boolean {
    return this.ticking && this.nowMs() % 1000 >= 1000 - UIP_MS;
  }

  /** Dial -> registers, unless the guest holds them to set the time. */
  private refresh(): void {
    if ((this.state.b & B.SET) !== 0) return;
    const { cmos } = this.state;
    const t = new Date(Math.floor(this.nowMs()));
    cmos[Reg.SECONDS] = this.encode(t.getUTCSeconds());
    cmos[Reg.MINUTES] = this.encode(t.getUTCMinutes());
    cmos[Reg.HOURS] = this.encodeHours(t.getUTCHours());
    cmos[Reg.WEEKDAY] = this.encode(t.getUTCDay() + 1);
    cmos[Reg.DAY] = this.encode(t.getUTCDate());
    cmos[Reg.MONTH] = this.encode(t.getUTCMonth() + 1);
    cmos[Reg.YEAR] = this.encode(t.getUTCFullYear() % 100);
    cmos[Reg.CENTURY] = this.encode(Math.floor(t.getUTCFullYear() / 100) & 0xff);
  }

  /** Registers -> dial: only the offset changes. Nonsense rolls over as Date.UTC does. */
  private setTime(): void {
    const { cmos } = this.state;
    const year = this.decode(cmos[Reg.CENTURY]) * 100 + this.decode(cmos[Reg.YEAR]);
    const ms = Date.UTC(
      year,
      this.decode(cmos[Reg.MONTH]) - 1,
      this.decode(cmos[Reg.DAY]),
      this.decodeHours(cmos[Reg.HOURS]),
      this.decode(cmos[Reg.MINUTES]),
      this.decode(cmos[Reg.SECONDS]),
    );
    this.state.offsetMs = BigInt.asUintN(64, BigInt(Math.round(ms - this.clock.wallMs())));
    this.state.lastSecond = Math.max(0, Math.floor(ms / 1000));
  }

  private encode(value: number): number {
    return (this.state.b & B.BINARY) !== 0 ? value : Math.floor(value / 10) * 16 + (value % 10);
  }

  private decode(value: number): number {
    return (this.state.b & B.BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 0x0f);
  }

  private encodeHours(hours: number): number {
    if ((this.state.b & B.HOURS_24) !== 0) return this.encode(hours);
    return this.encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? 0x80 : 0);
  }

  private decodeHours(value: number): number {
    if ((this.state.b & B.HOURS_24) !== 0) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + ((value & 0x80) !== 0 ? 12 : 0);
  }

  // --- flags and interrupts

  /** Brings the flags up to now. */
  private sync(): void {
    this.syncPeriodic();
    this.syncSeconds();
    this.update();
  }

  private syncPeriodic(): void {
    const s = this.state;
    const period = periodNs(s.a & A.RATE);
    const now = this.clock.ns();
    if (period === 0n || now < s.nextPeriodicNs) return;
    s.flags |= C.PF;
    s.nextPeriodicNs += ((now - s.nextPeriodicNs) / period + 1n) * period;
  }

  private syncSeconds(): void {
    const s = this.state;
    if (!this.ticking) return;
    const second = Math.max(0, Math.floor(this.nowMs() / 1000));
    if (second === s.lastSecond) return;
    if (s.lastSecond !== 0) {
      s.flags |= C.UF;
      const from = Math.max(s.lastSecond + 1, second - DAY_SECONDS + 1);
      for (let t = from; t <= second; t++) if (this.alarmAt(t)) s.flags |= C.AF;
    }
    s.lastSecond = second;
  }

  private alarmAt(second: number): boolean {
    const { cmos } = this.state;
    const t = second % DAY_SECONDS;
    const is = (register: number, value: number) =>
      cmos[register] >= ANY || cmos[register] === value;
    return (
      is(1, this.encode(t % 60)) &&
      is(3, this.encode(Math.floor(t / 60) % 60)) &&
      is(5, this.encodeHours(Math.floor(t / 3600)))
    );
  }

  /** Line and timer are functions of the state. */
  private update(): void {
    const s = this.state;
    this.irq.set((s.flags & s.b & (B.PIE | B.AIE | B.UIE)) !== 0);
    this.timer?.dispose();
    this.timer = undefined;
    if (this.paused) return;
    const wanted = s.b & ~s.flags;
    let at: bigint | undefined;
    if ((wanted & B.PIE) !== 0 && periodNs(s.a & A.RATE) > 0n) at = s.nextPeriodicNs;
    if ((wanted & (B.AIE | B.UIE)) !== 0 && this.ticking) {
      const turn = this.clock.ns() + BigInt(Math.ceil((1000 - (this.nowMs() % 1000)) * 1e6));
      if (at === undefined || turn < at) at = turn;
    }
    if (at !== undefined) this.timer = this.clock.timer(at, () => this.sync());
  }

  private readC(): number {
    this.sync();
    const s = this.state;
    const value = s.flags | ((s.flags & s.b & (B.PIE | B.AIE | B.UIE)) !== 0 ? C.IRQF : 0);
    s.flags = 0;
    this.update();
    return value;
  }

  private writeA(value: number): void {
    const s = this.state;
    this.sync();
    if ((value & A.RATE) !== (s.a & A.RATE))
      s.nextPeriodicNs = this.clock.ns() + periodNs(value & A.RATE);
    s.a = value;
    this.update();
  }

  private writeB(value: number): void {
    const s = this.state;
    this.sync();
    const before = s.b;
    if ((value & B.SET) !== 0) {
      if ((before & B.SET) === 0) this.refresh();
      s.b = value & ~B.UIE; // the data sheet: SET clears UIE
    } else {
      s.b = value;
      if ((before & B.SET) !== 0) this.setTime();
      if ((value & ~before & B.PIE) !== 0)
        s.nextPeriodicNs = this.clock.ns() + periodNs(s.a & A.RATE);
    }
    this.update();
  }

  private writeRam(index: number, value: number): void {
    if (isTime(index)) this.refresh();
    this.state.cmos[index] = value;
    if (isTime(index) && (this.state.b & B.SET) === 0) this.setTime();
    this.update();
  }

  /**
   * What the AT's BIOS leaves there: base and extended memory in KiB, the rest in units of 64 KiB.
   */
  private memorySize(index: number): number | undefined {
    const base = 640;
    const extended = Math.min(Math.max(this.ram.low / 1024 - 1024, 0), 0xffff);
    const above16 = Math.min(Math.max(this.ram.low / 65_536 - 256, 0), 0xffff);
    const above4g = this.ram.high / 65_536;
    switch (index) {
      case 0x15:
        return base & 0xff;
      case 0x16:
        return base >> 8;
      case 0x17:
      case 0x30:
        return extended & 0xff;
      case 0x18:
      case 0x31:
        return (extended >> 8) & 0xff;
      case 0x34:
        return above16 & 0xff;
      case 0x35:
        return (above16 >> 8) & 0xff;
      case 0x5b:
        return above4g & 0xff;
      case 0x5c:
        return (above4g >> 8) & 0xff;
      case 0x5d:
        return (above4g >> 16) & 0xff;
      default:
        return undefined;
    }
  }
}

function isTime(index: number): boolean {
  return index <= Reg.YEAR ? index % 2 === 0 || index >= Reg.DAY : index === Reg.CENTURY;
}

/** Rate selector -> period (table 5 of the data sheet, 32.768 kHz time base); 0 = none. */
function periodNs(rate: number): bigint {
  if (rate === 0) return 0n;
  const shift = rate <= 2 ? rate + 6 : rate - 1;
  return (1_000_000_000n << BigInt(shift)) / 32_768n;
}
