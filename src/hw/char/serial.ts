/**
 * 16550A UART (PC16550D data sheet). One chardev behind it, one IRQ line in front. Characters take
 * no time to send: what the guest wrote is gathered for a moment and handed to the chardev in one
 * piece; a chardev without room makes the transmitter look busy.
 *
 * What is typed before anybody has opened the port waits outside of the FIFO, as at the other end
 * of an RTS/CTS cable: drivers clear the FIFO when they open it. It is let in when the guest
 * asserts RTS; for guests that never do, when they have the receiver interrupt on and leave the
 * port's settings alone, or look for data again and again. In one turn of the main loop: one
 * access, or one delivery of the chardev, of which the FIFO takes 16 bytes.
 */
import type { CharBackend } from '../../chardev/contract.js';
import { VmError } from '../../base/errors.js';
import { blob, bool8, since, u16, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { event, tracer } from '../../base/trace.js';
import { ContainedPorts, outside } from '../contain.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import { containedClock, type GuestClock } from '../wiring.js';

const trace = tracer('serial', {
  read: event<{ id: string; offset: number; value: number }>(),
  write: event<{ id: string; offset: number; value: number }>(),
  overrun: event<{ id: string; lost: number }>(),
});

const Reg = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7 } as const;
const Ier = { RDA: 0x01, THRE: 0x02, LINE: 0x04, MODEM: 0x08 } as const;
const Iir = {
  NONE: 0x01,
  MODEM: 0x00,
  THRE: 0x02,
  RDA: 0x04,
  LINE: 0x06,
  TIMEOUT: 0x0c,
  FIFO: 0xc0,
} as const;
/** KEPT: the clear bits act and are gone. */
const Fcr = { ENABLE: 0x01, CLEAR_RX: 0x02, CLEAR_TX: 0x04, KEPT: 0xc9 } as const;
const Lcr = { DLAB: 0x80 } as const;
const Mcr = { RTS: 0x02, OUT2: 0x08, LOOP: 0x10 } as const;
const Lsr = {
  DATA_READY: 0x01,
  OVERRUN: 0x02,
  BREAK: 0x10,
  ERRORS: 0x1e,
  THR_EMPTY: 0x20,
  TEMT: 0x40,
} as const;
/** Data carrier, data set ready, clear to send: a cable that is always plugged in. */
const MSR_READY = 0xb0;
const MSR_DELTA = 0x0f;
const TRIGGER = [1, 4, 8, 14] as const;
const FIFO = 16;
/** One delivery of the chardev that has not found room in the FIFO yet. */
const LINE_MAX = 65_536;
/** A guest without RTS that leaves its settings alone for this long has opened the port. */
const SETTLED_NS = 50_000_000n;
/**
 * A guest that looks this often in a row, and finds nothing, polls. Drivers look twice while they
 * open.
 */
const POLLS = 16;
const TX_MAX = 1024;
const INPUT_CLOCK = 1_843_200;

export const serialState = vmstate(
  'isa-serial',
  2,
  {
    ier: u8.mask(0x0f),
    fcr: u8.mask(Fcr.KEPT),
    lcr: u8,
    mcr: u8.mask(0x1f),
    /** Error bits only; the others derive. */
    lsrErrors: u8.mask(Lsr.ERRORS),
    msrDelta: u8.mask(MSR_DELTA),
    scr: u8,
    divider: u16.initially(12),
    thrInterrupt: bool8,
    timeoutInterrupt: bool8,
    /** The FIFO; before version 2 also what waited for it. */
    rx: blob(LINE_MAX),
    tx: blob(TX_MAX),
    line: since(2, blob(LINE_MAX)),
  },
  s => {
    if (s.rx.length > FIFO && s.line.length > 0)
      throw new VmError(`rx: ${s.rx.length} bytes in a FIFO of ${FIFO}`);
  },
);

export class Serial extends Device<StateOf<typeof serialState>> {
  /** The other end of the cable does not hear of a reset. */
  static readonly batteryBacked = ['line'] as const;
  readonly vmstate = serialState;
  state = serialState.reset();
  /** Bytes on their way to the chardev; state.tx holds them only while the VM is stopped. */
  private readonly gather = Buffer.alloc(TX_MAX);
  private gathered = 0;
  private blocked = false;
  private paused = true;
  /** Looks at the line status in a row that found nothing, with the transmitter idle. */
  private looks = 0;
  /** Without RTS: the receiver interrupt has been on for a while, and the settings stay. */
  private settled = false;
  private settleTimer: { dispose(): void } | undefined;
  private readonly clock: GuestClock;
  private flushTimer: { dispose(): void } | undefined;
  private timeoutTimer: { dispose(): void } | undefined;

  constructor(
    id: string,
    private readonly irq: IrqLine,
    private readonly chr: CharBackend | undefined,
    clock: GuestClock,
  ) {
    super(id);
    this.clock = containedClock(this, clock);
    chr?.pause();
    chr?.onData(this.guarded((bytes: Uint8Array) => this.arrived(bytes)));
    chr?.onRoom(this.guarded(() => this.hasRoom()));
    chr?.onBreak?.(this.guarded(() => this.breakArrived()));
  }

  attach(io: IoPorts, base: number): void {
    io.map(this.id, base, 8, new ContainedPorts(this, this));
  }

  pioRead(offset: number): number {
    const value = this.readRegister(offset);
    trace.read?.({ id: this.id, offset, value });
    return value;
  }

  pioWrite(offset: number, _size: number, value: number): void {
    trace.write?.({ id: this.id, offset, value });
    const s = this.state;
    this.looks = 0;
    const dlab = (s.lcr & Lcr.DLAB) !== 0;
    switch (offset) {
      case Reg.DATA:
        if (dlab) s.divider = (s.divider & 0xff00) | value;
        else this.transmit(value);
        break;
      case Reg.IER:
        if (dlab) s.divider = (s.divider & 0x00ff) | (value << 8);
        else this.writeIer(value & 0x0f);
        break;
      case Reg.IIR_FCR:
        this.writeFcr(value);
        break;
      case Reg.LCR:
        s.lcr = value;
        break;
      case Reg.MCR:
        this.writeMcr(value & 0x1f);
        break;
      case Reg.SCR:
        s.scr = value;
        break;
      default:
        break; // LSR and MSR are read-only outside factory tests
    }
    this.updateIrq();
  }

  override reset(): void {
    this.flush();
    const { line } = this.state;
    super.reset();
    this.state.line = line;
  }

  override beforeSave(): void {
    this.state.tx = Buffer.from(this.gather.subarray(0, this.gathered));
  }

  override afterLoad(): void {
    const s = this.state;
    this.gathered = s.tx.copy(this.gather);
    this.stopTimers();
    this.blocked = false;
    this.looks = 0;
    this.settled = false;
    if (s.rx.length > FIFO) {
      s.line = s.rx.subarray(FIFO);
      s.rx = s.rx.subarray(0, FIFO);
    }
    this.updateIrq();
  }

  override async pause(): Promise<void> {
    if (this.paused) return;
    this.paused = true;
    this.stopTimers();
    this.hold();
    this.flush();
  }

  override resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.flush();
    this.armSettle();
    this.letIn();
    this.armTimeout();
  }

  protected override whenBroken(): void {
    this.stopTimers();
    this.hold();
  }

  private readRegister(offset: number): number {
    const s = this.state;
    const dlab = (s.lcr & Lcr.DLAB) !== 0;
    switch (offset) {
      case Reg.DATA:
        return dlab ? s.divider & 0xff : this.takeByte();
      case Reg.IER:
        return dlab ? s.divider >> 8 : s.ier;
      case Reg.IIR_FCR:
        return this.readIir();
      case Reg.LCR:
        return s.lcr;
      case Reg.MCR:
        return s.mcr;
      case Reg.LSR:
        return this.readLsr();
      case Reg.MSR:
        return this.readMsr();
      default:
        return s.scr;
    }
  }

  // --- transmitter

  private get txReady(): boolean {
    return !this.blocked && this.gathered <= TX_MAX - FIFO;
  }

  private transmit(value: number): void {
    const s = this.state;
    if ((s.mcr & Mcr.LOOP) !== 0) this.receive(value);
    else if (this.chr !== undefined && this.gathered < TX_MAX) this.gather[this.gathered++] = value;
    if (this.gathered >= TX_MAX / 2) this.flush();
    else if (this.gathered > 0 && !this.flushTimer && !this.paused)
      this.flushTimer = this.clock.soon(() => this.flush());
    s.thrInterrupt = this.txReady;
  }

  /** Everything gathered, or nothing if the chardev has no room. */
  private flush(): void {
    this.flushTimer?.dispose();
    this.flushTimer = undefined;
    if (this.gathered === 0 || this.chr === undefined) return;
    const { chr } = this;
    this.blocked = !outside(() => chr.write(this.gather.subarray(0, this.gathered)));
    if (!this.blocked) this.gathered = 0;
  }

  private hasRoom(): void {
    if (this.paused || !this.blocked) return;
    this.blocked = false;
    this.flush();
    if (!this.txReady) return;
    this.state.thrInterrupt = true;
    this.updateIrq();
  }

  // --- receiver

  /** The chardev delivers. */
  private arrived(bytes: Uint8Array): void {
    const s = this.state;
    const room = LINE_MAX - s.line.length;
    if (bytes.length > room) this.overrun(bytes.length - room);
    s.line = Buffer.concat([s.line, bytes.subarray(0, room)]);
    this.letIn();
    this.armTimeout();
    this.updateIrq();
  }

  /** One character on the wire itself. */
  private receive(value: number): void {
    const s = this.state;
    if (s.rx.length >= FIFO) this.overrun(1);
    else s.rx = Buffer.concat([s.rx, Uint8Array.of(value)]);
    this.armTimeout();
    this.updateIrq();
  }

  private overrun(lost: number): void {
    trace.overrun?.({ id: this.id, lost });
    this.state.lsrErrors |= Lsr.OVERRUN;
  }

  /** A zero byte with the break bit beside it; the guest sees it while it runs. */
  private breakArrived(): void {
    if (this.paused) return;
    this.state.lsrErrors |= Lsr.BREAK;
    this.receive(0);
  }

  private takeByte(): number {
    const s = this.state;
    this.looks = 0;
    if (s.rx.length === 0) return 0;
    const value = s.rx[0];
    s.rx = s.rx.subarray(1);
    s.timeoutInterrupt = false;
    this.letIn();
    this.armTimeout();
    this.updateIrq();
    return value;
  }

  /** The guest has opened the port, as far as its registers tell. */
  private get open(): boolean {
    const { mcr, ier } = this.state;
    if ((mcr & Mcr.LOOP) !== 0) return false;
    return (mcr & Mcr.RTS) !== 0 || (this.settled && (ier & Ier.RDA) !== 0);
  }

  /** From the line into the FIFO; the chardev delivers more when the line is empty. */
  private letIn(now = this.open): void {
    const s = this.state;
    if (this.paused) return;
    if (now && s.line.length > 0 && s.rx.length < FIFO) {
      const n = FIFO - s.rx.length;
      s.rx = Buffer.concat([s.rx, s.line.subarray(0, n)]);
      s.line = s.line.subarray(n);
    }
    if (s.line.length > 0 || s.rx.length >= FIFO) this.hold();
    else outside(() => this.chr?.resume());
  }

  private hold(): void {
    outside(() => this.chr?.pause());
  }

  /** A guest that waits for data without RTS and interrupts gets a FIFO full of it. */
  private looked(): void {
    if (this.state.rx.length > 0 || !this.txReady) this.looks = 0;
    else if (++this.looks >= POLLS && (this.state.mcr & Mcr.LOOP) === 0) this.letIn(true);
  }

  /**
   * The settings were touched: what is behind RTS is open at once, everything else after a while.
   */
  private settingsChanged(): void {
    this.settled = false;
    this.armSettle();
    this.letIn();
    this.armTimeout();
  }

  private armSettle(): void {
    this.settleTimer?.dispose();
    this.settleTimer = undefined;
    if (this.paused || this.settled || (this.state.ier & Ier.RDA) === 0) return;
    this.settleTimer = this.clock.timer(this.clock.ns() + SETTLED_NS, () => {
      this.settled = true;
      this.letIn();
      this.armTimeout();
      this.updateIrq();
    });
  }

  private get trigger(): number {
    return (this.state.fcr & Fcr.ENABLE) !== 0 ? TRIGGER[this.state.fcr >> 6] : 1;
  }

  /**
   * Characters below the trigger level are announced after four character times without another
   * one.
   */
  private armTimeout(): void {
    const s = this.state;
    this.timeoutTimer?.dispose();
    this.timeoutTimer = undefined;
    if (this.paused || s.timeoutInterrupt || s.rx.length === 0 || s.rx.length >= this.trigger)
      return;
    const charNs = Math.ceil((1e9 * 16 * 10 * Math.max(s.divider, 1)) / INPUT_CLOCK);
    this.timeoutTimer = this.clock.timer(this.clock.ns() + BigInt(4 * charNs), () => {
      s.timeoutInterrupt = true;
      this.updateIrq();
    });
  }

  // --- registers with side effects

  private writeIer(value: number): void {
    const s = this.state;
    if ((value & ~s.ier & Ier.THRE) !== 0 && this.txReady) s.thrInterrupt = true;
    const receiver = (value ^ s.ier) & Ier.RDA;
    s.ier = value;
    if (receiver !== 0) this.settingsChanged();
  }

  private writeFcr(value: number): void {
    const s = this.state;
    const toggled = ((value ^ s.fcr) & Fcr.ENABLE) !== 0;
    if (toggled || (value & Fcr.CLEAR_RX) !== 0) {
      s.rx = Buffer.alloc(0);
      s.timeoutInterrupt = false;
    }
    // Our transmit FIFO is always empty for the guest: what it wrote counts as sent.
    if (toggled || (value & Fcr.CLEAR_TX) !== 0) s.thrInterrupt = this.txReady;
    s.fcr = (value & Fcr.ENABLE) !== 0 ? value & Fcr.KEPT : 0;
    this.settingsChanged();
  }

  private writeMcr(value: number): void {
    const s = this.state;
    const before = this.msrStatus();
    s.mcr = value;
    const changed = (before ^ this.msrStatus()) >> 4;
    // RI counts only its trailing edge (bit 2 of the delta nibble).
    const ringEnded = (before & ~this.msrStatus() & 0x40) !== 0;
    s.msrDelta |= (changed & 0x0b) | (ringEnded ? 0x04 : 0);
    this.settingsChanged();
  }

  private msrStatus(): number {
    const { mcr } = this.state;
    if ((mcr & Mcr.LOOP) === 0) return MSR_READY;
    return ((mcr & 0x02) << 3) | ((mcr & 0x01) << 5) | ((mcr & 0x0c) << 4);
  }

  private readMsr(): number {
    const value = this.msrStatus() | (this.state.msrDelta & MSR_DELTA);
    this.state.msrDelta = 0;
    this.updateIrq();
    return value;
  }

  private readLsr(): number {
    const s = this.state;
    this.looked();
    const value =
      s.lsrErrors |
      (s.rx.length > 0 ? Lsr.DATA_READY : 0) |
      (this.txReady ? Lsr.THR_EMPTY | Lsr.TEMT : 0);
    s.lsrErrors = 0;
    this.updateIrq();
    return value;
  }

  private readIir(): number {
    const s = this.state;
    const cause = this.cause();
    if (cause === Iir.THRE) {
      s.thrInterrupt = false;
      this.updateIrq();
    }
    return cause | ((s.fcr & Fcr.ENABLE) !== 0 ? Iir.FIFO : 0);
  }

  /** Interrupt identification by priority (table 2 of the data sheet). */
  private cause(): number {
    const s = this.state;
    if ((s.ier & Ier.LINE) !== 0 && (s.lsrErrors & Lsr.ERRORS) !== 0) return Iir.LINE;
    if ((s.ier & Ier.RDA) !== 0 && s.rx.length >= this.trigger) return Iir.RDA;
    if ((s.ier & Ier.RDA) !== 0 && s.timeoutInterrupt) return Iir.TIMEOUT;
    if ((s.ier & Ier.THRE) !== 0 && s.thrInterrupt) return Iir.THRE;
    if ((s.ier & Ier.MODEM) !== 0 && s.msrDelta !== 0) return Iir.MODEM;
    return Iir.NONE;
  }

  /** On a PC, OUT2 gates the line. */
  private updateIrq(): void {
    this.irq.set(
      this.cause() !== Iir.NONE && (this.state.mcr & (Mcr.OUT2 | Mcr.LOOP)) === Mcr.OUT2,
    );
  }

  private stopTimers(): void {
    this.flushTimer?.dispose();
    this.timeoutTimer?.dispose();
    this.settleTimer?.dispose();
    this.flushTimer = this.timeoutTimer = this.settleTimer = undefined;
  }
}
