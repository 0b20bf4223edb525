/**
 * 16550A UART (PC16550D data sheet). One chardev behind it, one IRQ line in front. Characters take no time to send: what the guest
 * wrote is gathered for a moment and handed to the chardev in one piece; a chardev without room makes the transmitter look busy.
 */
import type { CharBackend } from '../../chardev/contract.js';
import { blob, bool, u16, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { IoPorts } from '../../memory/io-ports.js';
import { tracer } from '../../base/trace.js';
import { Device, type IrqLine, type StateOf } from '../device.js';
import type { GuestClock } from '../wiring.js';

const trace = tracer('serial', ['read', 'write', 'overrun'] as const);

const Reg = { DATA: 0, IER: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7 } as const;
const Ier = { RDA: 0x01, THRE: 0x02, LINE: 0x04, MODEM: 0x08 } as const;
const Iir = { NONE: 0x01, MODEM: 0x00, THRE: 0x02, RDA: 0x04, LINE: 0x06, TIMEOUT: 0x0c, FIFO: 0xc0 } as const;
/** KEPT: the clear bits act and are gone. */
const Fcr = { ENABLE: 0x01, CLEAR_RX: 0x02, CLEAR_TX: 0x04, KEPT: 0xc9 } as const;
const Lcr = { DLAB: 0x80 } as const;
const Mcr = { OUT2: 0x08, LOOP: 0x10 } as const;
const Lsr = { DATA_READY: 0x01, OVERRUN: 0x02, BREAK: 0x10, ERRORS: 0x1e, THR_EMPTY: 0x20, TEMT: 0x40 } as const;
/** Data carrier, data set ready, clear to send: a cable that is always plugged in. */
const MSR_READY = 0xb0;
const MSR_DELTA = 0x0f;
const TRIGGER = [1, 4, 8, 14] as const;
const FIFO = 16;
/** Bytes of one delivery of the chardev that the guest has not read yet. */
const RX_MAX = 65_536;
const TX_MAX = 1024;
const INPUT_CLOCK = 1_843_200;

export const serialState = vmstate('isa-serial', 1, {
  ier: u8.mask(0x0f),
  fcr: u8.mask(Fcr.KEPT),
  lcr: u8,
  mcr: u8.mask(0x1f),
  /** Error bits only; the others derive. */
  lsrErrors: u8.mask(Lsr.ERRORS),
  msrDelta: u8.mask(MSR_DELTA),
  scr: u8,
  divider: u16.initially(12),
  thrInterrupt: bool,
  timeoutInterrupt: bool,
  rx: blob(RX_MAX),
  tx: blob(TX_MAX),
});

export class Serial extends Device<StateOf<typeof serialState>> {
  readonly vmstate = serialState;
  state = serialState.reset();
  /** Bytes on their way to the chardev; state.tx holds them only while the VM is stopped. */
  private readonly gather = Buffer.alloc(TX_MAX);
  private gathered = 0;
  private blocked = false;
  private paused = true;
  private flushTimer: { dispose(): void } | undefined;
  private timeoutTimer: { dispose(): void } | undefined;

  constructor(
    id: string,
    private readonly irq: IrqLine,
    private readonly chr: CharBackend | undefined,
    private readonly clock: GuestClock,
  ) {
    super(id);
    chr?.pause();
    chr?.onData(bytes => this.receive(bytes));
    chr?.onRoom(() => this.hasRoom());
    chr?.onBreak?.(() => this.breakArrived());
  }

  attach(io: IoPorts, base: number): void {
    io.map(this.id, base, 8, this);
  }

  pioRead(offset: number): number {
    const value = this.readRegister(offset);
    trace('read', { id: this.id, offset, value });
    return value;
  }

  pioWrite(offset: number, _size: number, value: number): void {
    trace('write', { id: this.id, offset, value });
    const s = this.state;
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
      case Reg.IIR_FCR: this.writeFcr(value); break;
      case Reg.LCR: s.lcr = value; break;
      case Reg.MCR: this.writeMcr(value & 0x1f); break;
      case Reg.SCR: s.scr = value; break;
      default: break; // LSR and MSR are read-only outside factory tests
    }
    this.updateIrq();
  }

  override reset(): void {
    this.flush();
    super.reset();
  }

  override beforeSave(): void {
    this.state.tx = Buffer.from(this.gather.subarray(0, this.gathered));
  }

  override afterLoad(): void {
    this.gathered = this.state.tx.copy(this.gather);
    this.stopTimers();
    this.blocked = false;
    this.updateIrq();
  }

  override async pause(): Promise<void> {
    if (this.paused) return;
    this.paused = true;
    this.stopTimers();
    this.chr?.pause();
    this.flush();
  }

  override resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.flush();
    this.armTimeout();
    this.throttleInput();
  }

  private readRegister(offset: number): number {
    const s = this.state;
    const dlab = (s.lcr & Lcr.DLAB) !== 0;
    switch (offset) {
      case Reg.DATA: return dlab ? s.divider & 0xff : this.takeByte();
      case Reg.IER: return dlab ? s.divider >> 8 : s.ier;
      case Reg.IIR_FCR: return this.readIir();
      case Reg.LCR: return s.lcr;
      case Reg.MCR: return s.mcr;
      case Reg.LSR: return this.readLsr();
      case Reg.MSR: return this.readMsr();
      default: return s.scr;
    }
  }

  // --- transmitter

  private get txReady(): boolean {
    return !this.blocked && this.gathered <= TX_MAX - FIFO;
  }

  private transmit(value: number): void {
    const s = this.state;
    if ((s.mcr & Mcr.LOOP) !== 0) this.receive(Uint8Array.of(value));
    else if (this.chr !== undefined && this.gathered < TX_MAX) this.gather[this.gathered++] = value;
    if (this.gathered >= TX_MAX / 2) this.flush();
    else if (this.gathered > 0 && !this.flushTimer && !this.paused) this.flushTimer = this.clock.soon(() => this.flush());
    s.thrInterrupt = this.txReady;
  }

  /** Everything gathered, or nothing if the chardev has no room. */
  private flush(): void {
    this.flushTimer?.dispose();
    this.flushTimer = undefined;
    if (this.gathered === 0 || this.chr === undefined) return;
    this.blocked = !this.chr.write(this.gather.subarray(0, this.gathered));
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

  private receive(bytes: Uint8Array): void {
    const s = this.state;
    const room = RX_MAX - s.rx.length;
    if (bytes.length > room) {
      trace('overrun', { id: this.id, lost: bytes.length - room });
      s.lsrErrors |= Lsr.OVERRUN;
    }
    s.rx = Buffer.concat([s.rx, bytes.subarray(0, room)]);
    this.throttleInput();
    this.armTimeout();
    this.updateIrq();
  }

  /** A zero byte with the break bit beside it; the guest sees it while it runs. */
  private breakArrived(): void {
    if (this.paused) return;
    this.state.lsrErrors |= Lsr.BREAK;
    this.receive(Uint8Array.of(0));
  }

  private takeByte(): number {
    const s = this.state;
    if (s.rx.length === 0) return 0;
    const value = s.rx[0];
    s.rx = s.rx.subarray(1);
    s.timeoutInterrupt = false;
    this.throttleInput();
    this.armTimeout();
    this.updateIrq();
    return value;
  }

  /** The chardev delivers while the FIFO has room. */
  private throttleInput(): void {
    if (this.paused) return;
    if (this.state.rx.length >= FIFO) this.chr?.pause();
    else this.chr?.resume();
  }

  private get trigger(): number {
    return (this.state.fcr & Fcr.ENABLE) !== 0 ? TRIGGER[this.state.fcr >> 6] : 1;
  }

  /** Characters below the trigger level are announced after four character times without another one. */
  private armTimeout(): void {
    const s = this.state;
    this.timeoutTimer?.dispose();
    this.timeoutTimer = undefined;
    if (this.paused || s.timeoutInterrupt || s.rx.length === 0 || s.rx.length >= this.trigger) return;
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
    s.ier = value;
  }

  private writeFcr(value: number): void {
    const s = this.state;
    const toggled = ((value ^ s.fcr) & Fcr.ENABLE) !== 0;
    if (toggled || (value & Fcr.CLEAR_RX) !== 0) {
      s.rx = Buffer.alloc(0);
      s.timeoutInterrupt = false;
      this.throttleInput();
    }
    // Our transmit FIFO is always empty for the guest: what it wrote counts as sent.
    if (toggled || (value & Fcr.CLEAR_TX) !== 0) s.thrInterrupt = this.txReady;
    s.fcr = (value & Fcr.ENABLE) !== 0 ? value & Fcr.KEPT : 0;
    this.armTimeout();
  }

  private writeMcr(value: number): void {
    const s = this.state;
    const before = this.msrStatus();
    s.mcr = value;
    const changed = (before ^ this.msrStatus()) >> 4;
    // RI counts only its trailing edge (bit 2 of the delta nibble).
    const ringEnded = (before & ~this.msrStatus() & 0x40) !== 0;
    s.msrDelta |= (changed & 0x0b) | (ringEnded ? 0x04 : 0);
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
    const value = s.lsrErrors | (s.rx.length > 0 ? Lsr.DATA_READY : 0) | (this.txReady ? Lsr.THR_EMPTY | Lsr.TEMT : 0);
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
    this.irq.set(this.cause() !== Iir.NONE && (this.state.mcr & (Mcr.OUT2 | Mcr.LOOP)) === Mcr.OUT2);
  }

  private stopTimers(): void {
    this.flushTimer?.dispose();
    this.timeoutTimer?.dispose();
    this.flushTimer = this.timeoutTimer = undefined;
  }
}
