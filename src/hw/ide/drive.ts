/**
 * An IDE device behind its channel (ATA/ATAPI-6, T13/1410D): the command block, transfers by PIO
 * and DMA, and one request to the disk at a time. What a command does is the subclass's. A transfer
 * goes in steps whose state is all in `state`: it may stand still between any two of them, and go
 * on here or elsewhere.
 */
import { AssertionError, asVmError, VmError } from '../../base/errors.js';
import { event, tracer } from '../../base/trace.js';
import { allOnes } from '../../base/unsigned.js';
import type { BlockBackend } from '../../block/contract/backend.js';
import type { PioHandler } from '../../memory/contract.js';
import { outside, OutsideError } from '../contain.js';
import { Device } from '../device.js';
import { Turn, VIRTIO_TURN } from '../turn.js';
import type { GuestClock } from '../wiring.js';
import type { DmaMove, DmaPort } from './dma-table.js';
import {
  AtaStatus,
  DeviceBits,
  type DriveState,
  IdeError,
  movesBlock,
  Reg,
} from './drive-state.js';

const trace = tracer('ide', {
  command: event<{ id: string; code: number }>(),
  error: event<{ id: string; kind: string; message: string; action: string }>(),
});

/** What a device has of its channel. */
export interface IdePort {
  readonly dma: DmaPort;
  /** 0: master of the first channel, 1: its slave, 2 and 3: those of the second. */
  readonly place: number;
  /** The device's own interrupt changed. */
  interrupt(rises: boolean): void;
}

export abstract class IdeDrive<S extends DriveState = DriveState>
  extends Device<S>
  implements PioHandler
{
  private readonly turn: Turn;
  private paused = true;
  /** What the disk has been asked. */
  private request: Promise<void> | undefined;
  /** The answer to an older question is of no interest. */
  private generation = 0;
  /** A failed request is kept until the VM runs again. */
  private held = false;

  constructor(
    id: string,
    readonly backend: BlockBackend,
    protected readonly port: IdePort,
    clock: Pick<GuestClock, 'soon'>,
  ) {
    super(id);
    this.turn = new Turn(
      VIRTIO_TURN,
      fn => clock.soon(this.guarded(fn)),
      () => this.pump(),
    );
  }

  /** Registers 2 to 5 after a reset: which kind of device it is. */
  protected abstract readonly signature: readonly number[];
  protected abstract readonly readyStatus: number;
  protected abstract command(code: number): void;
  /** The device takes this one whatever it is doing. */
  protected abstract interrupts(code: number): boolean;
  /** Fills the buffer with what comes next of `left` sectors. */
  protected abstract fetch(): void;
  /** Takes the buffer, which is full. */
  protected abstract store(): void;
  /** How much of these bytes the guest moves at a time by PIO. */
  protected abstract blockOf(bytes: number): number;
  /** The guest may move a block of these bytes by PIO now. */
  protected offered(_bytes: number): void {}
  /** Bytes that the guest shall give next. */
  protected abstract nextOut(): number;
  /** The command in the buffer; without the packet feature set there is none. */
  protected packet(): void {
    this.abort();
  }
  /** All data was moved. */
  protected abstract completed(): void;

  // --- Device

  override reset(): void {
    this.forget();
    super.reset();
    this.softReset();
  }

  override afterLoad(): void {
    this.forget();
    this.port.interrupt(false);
  }

  override async pause(): Promise<void> {
    this.paused = true;
    this.turn.end();
    void outside(() => this.backend.drain());
    while (this.request) await this.request;
  }

  override resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.held = false;
    this.pump();
  }

  /** SRST, DEVICE RESET and a machine's reset. What SET FEATURES chose stays but for the last. */
  softReset(): void {
    const s = this.state;
    this.forget();
    s.phase = 'idle';
    s.dma = false;
    s.left = s.at = s.blockEnd = 0;
    s.buffer = Buffer.alloc(0);
    s.registers[Reg.DEVICE] = 0;
    this.sign();
    this.setInterrupt(false);
  }

  /** The result of a self test, and who it is. */
  protected sign(): void {
    const s = this.state;
    s.registers.set(this.signature, Reg.COUNT);
    s.previous.fill(0);
    s.error = 0x01;
    s.status = this.readyStatus;
  }

  /** DMA was started. */
  dmaStarted(): void {
    this.pump();
  }

  // --- registers

  pioRead(register: number, size: number): number {
    const s = this.state;
    switch (register) {
      case Reg.DATA:
        return this.readData(size);
      case Reg.ERROR:
        return s.error;
      case Reg.STATUS:
        this.setInterrupt(false);
        return this.statusByte;
      case Reg.ALTERNATE:
        return this.statusByte;
      case Reg.DEVICE:
      case Reg.PREVIOUS + Reg.DEVICE:
        return s.registers[Reg.DEVICE] | DeviceBits.ALWAYS;
      default:
        return register > Reg.PREVIOUS ? s.previous[register & 7] : s.registers[register];
    }
  }

  pioWrite(register: number, size: number, value: number): void {
    const s = this.state;
    if (register === Reg.DATA) return this.writeData(size, value);
    if (register === Reg.STATUS) {
      if (this.busy && !this.interrupts(value)) return;
      this.setInterrupt(false);
      s.error = 0;
      trace.command?.({ id: this.id, code: value });
      this.command(value);
      return this.pump();
    }
    if (this.busy && register !== Reg.DEVICE) return;
    s.previous[register] = s.registers[register];
    s.registers[register] = value;
  }

  private get busy(): boolean {
    return (this.statusByte & (AtaStatus.BUSY | AtaStatus.DRQ)) !== 0;
  }

  /** A request that was forgotten still is with the disk: nothing new before it is answered. */
  private get statusByte(): number {
    return this.request && this.state.phase === 'idle' ? AtaStatus.BUSY : this.state.status;
  }

  private readData(size: number): number {
    const s = this.state;
    if (!movesBlock(s) || s.phase !== 'in') return allOnes(size);
    const n = Math.min(size, s.blockEnd - s.at);
    const value = s.buffer.readUIntLE(s.at, n);
    this.moved(n);
    return value;
  }

  private writeData(size: number, value: number): void {
    const s = this.state;
    if (!movesBlock(s) || (s.phase !== 'out' && s.phase !== 'packet')) return;
    const n = Math.min(size, s.blockEnd - s.at);
    for (let i = 0; i < n; i++) s.buffer[s.at + i] = (value >>> (8 * i)) & 0xff;
    this.moved(n);
  }

  private moved(bytes: number): void {
    const s = this.state;
    s.at += bytes;
    if (s.at < s.blockEnd) return;
    s.status = AtaStatus.BUSY;
    this.pump();
  }

  protected setInterrupt(on: boolean): void {
    const rises = on && !this.state.interrupt;
    this.state.interrupt = on;
    this.port.interrupt(rises);
  }

  get interruptPending(): boolean {
    return this.state.interrupt;
  }

  // --- a command's course

  /** Data goes to the guest: what the buffer has, then `left` sectors from the disk. */
  protected send({ dma, data = Buffer.alloc(0) }: { dma: boolean; data?: Buffer }): void {
    this.begin('in', dma, data);
  }

  /** The first block is taken without an interrupt. */
  protected take(dma: boolean): void {
    this.begin('out', dma, Buffer.alloc(this.nextOut()));
    if (!dma) this.offer(false);
  }

  protected takePacket(bytes: number): void {
    this.begin('packet', false, Buffer.alloc(bytes));
    this.offer(false);
  }

  protected waitForMedium(): void {
    this.begin('flush', false, Buffer.alloc(0));
  }

  private begin(phase: DriveState['phase'], dma: boolean, buffer: Buffer): void {
    const s = this.state;
    s.phase = phase;
    s.dma = dma;
    s.buffer = buffer;
    s.at = s.blockEnd = 0;
    s.status = AtaStatus.BUSY;
  }

  /** It is done, and went well. */
  protected done(): void {
    this.end(this.readyStatus | AtaStatus.SEEK_DONE);
  }

  /** It went wrong. */
  protected abort(error: number = IdeError.ABORT): void {
    this.state.error = error;
    this.end(this.readyStatus | AtaStatus.SEEK_DONE | AtaStatus.ERROR);
  }

  protected end(status: number, { interrupt = true } = {}): void {
    const s = this.state;
    if (s.dma) this.port.dma.stop();
    s.phase = 'idle';
    s.dma = false;
    s.left = s.at = s.blockEnd = 0;
    s.buffer = Buffer.alloc(0);
    s.status = status;
    if (interrupt) this.setInterrupt(true);
  }

  protected pump(): void {
    while (this.ready && this.step());
  }

  private get ready(): boolean {
    if (this.paused || this.failure !== undefined || this.held || this.request) return false;
    return this.state.phase !== 'idle' && this.turn.open;
  }

  /** False: the guest or the disk is waited for. */
  private step(): boolean {
    const s = this.state;
    if (s.phase === 'flush') {
      this.ask(
        'write',
        () => this.backend.flush(),
        () => this.done(),
      );
      return false;
    }
    if (s.at < s.buffer.length) return s.dma ? this.moveByDma() : this.offer(true);
    switch (s.phase) {
      case 'in':
        if (s.left > 0) this.fetch();
        else this.completed();
        return true;
      case 'out':
        if (s.buffer.length > 0) this.store();
        else if (s.left === 0) this.completed();
        else {
          s.buffer = Buffer.alloc(this.nextOut());
          s.at = 0;
        }
        return true;
      default:
        this.packet();
        return true;
    }
  }

  /** The guest moves the next block. */
  private offer(interrupt: boolean): false {
    const s = this.state;
    if ((s.status & AtaStatus.DRQ) !== 0) return false;
    s.blockEnd = Math.min(s.at + this.blockOf(s.buffer.length - s.at), s.buffer.length);
    this.offered(s.blockEnd - s.at);
    s.status = this.readyStatus | AtaStatus.SEEK_DONE | AtaStatus.DRQ;
    if (interrupt) this.setInterrupt(true);
    return false;
  }

  private moveByDma(): boolean {
    const { port, state: s } = this;
    if (!port.dma.active) return false;
    const piece = s.buffer.subarray(s.at);
    const moved: DmaMove = s.phase === 'in' ? port.dma.toGuest(piece) : port.dma.fromGuest(piece);
    s.at += moved.bytes;
    this.turn.spend(moved.regions, moved.bytes);
    if (moved.end === 'open') return true;
    if (moved.end === 'fault') {
      port.dma.fail();
      this.abort();
    } else {
      // A table that is too short ends the command, and no interrupt says so.
      this.end(this.readyStatus | AtaStatus.SEEK_DONE, { interrupt: false });
    }
    return false;
  }

  // --- the disk

  /** done: with what it answered; undefined where an error is to be ignored. */
  protected ask<T>(
    kind: 'read' | 'write',
    call: () => Promise<T>,
    done: (result: T | undefined) => void,
  ): void {
    const { generation } = this;
    this.turn.spend(1, 0);
    const settled = this.guarded((answer: Answer<T>) => {
      if (generation !== this.generation) return this.pump();
      if ('error' in answer) this.failed(kind, answer.error, () => done(undefined));
      else done(answer.result);
      this.pump();
    });
    // In one go: between the two a pause would find nothing to wait for.
    this.request = answerOf(call).then(answer => {
      this.request = undefined;
      settled(answer);
    });
  }

  /** The backend decides what follows an error. */
  private failed(kind: 'read' | 'write', thrown: unknown, ignore: () => void): void {
    if (!(thrown instanceof VmError)) throw thrown;
    const action = outside(() => this.backend.errorAction(kind, thrown));
    trace.error?.({ id: this.id, kind, message: thrown.message, action });
    if (action === 'stop') this.held = true;
    else if (action === 'ignore') ignore();
    else this.diskFailed(kind);
  }

  protected diskFailed(kind: 'read' | 'write'): void {
    this.abort(kind === 'read' ? IdeError.UNREADABLE : IdeError.ABORT);
  }

  private forget(): void {
    this.generation++;
    this.held = false;
    this.turn.end();
  }
}

type Answer<T> = { result: T } | { error: unknown };

/** Whatever the disk fails with is the failure of a request; an assertion of its own is not. */
async function answerOf<T>(call: () => Promise<T>): Promise<Answer<T>> {
  try {
    return { result: await call() };
  } catch (error) {
    if (error instanceof AssertionError) throw new OutsideError(error.message, { cause: error });
    return { error: asVmError(error) };
  }
}
