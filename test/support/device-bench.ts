/**
 * A board without CPUs: the test is the guest (in, out, load, store) and the world (time,
 * characters, frames, disk answers).
 */
import type { Ram } from '../../src/accel/contract.js';
import type { BlockBackend, ErrorAction, MediumTray } from '../../src/block/contract/backend.js';
import type { CharBackend } from '../../src/chardev/contract.js';
import type { Clock } from '../../src/host/ports.js';
import { type GuestClock, guestClock, IrqRouter } from '../../src/hw/wiring.js';
import { SystemBus } from '../../src/memory/bus.js';
import type { Netdev, NicPort } from '../../src/net/contract.js';
import { FakeRam } from './fake-ram.js';
import { FakeVm } from './fake-vm.js';

/** 2026-11-22 20:30:00 UTC. */
export const EPOCH_MS = Date.UTC(2026, 10, 22, 20, 30, 0);

/** Host time that moves when told; guest time follows it. */
export class BenchClock implements Clock {
  private now = 0;
  private timers: { at: number; fn: () => void }[] = [];

  constructor(private readonly vm: FakeVm) {}

  nowMs(): number {
    return this.now;
  }

  bootMs(): number {
    return this.now;
  }

  wallMs(): number {
    return EPOCH_MS + this.now;
  }

  get armed(): number {
    return this.timers.length;
  }

  timer(delayMs: number, fn: () => void): { dispose(): void } {
    const entry = { at: this.now + Math.max(delayMs, 0), fn };
    this.timers.push(entry);
    return { dispose: () => void (this.timers = this.timers.filter(t => t !== entry)) };
  }

  /** Fires what falls due, in order. */
  advance(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const next = this.timers.filter(t => t.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.timers = this.timers.filter(t => t !== next);
      this.move(Math.max(next.at, this.now));
      next.fn();
    }
    this.move(until);
  }

  private move(to: number): void {
    this.vm.clockNs += BigInt(Math.round((to - this.now) * 1e6));
    this.now = to;
  }
}

export class Bench {
  readonly vm: FakeVm;
  readonly host: BenchClock;
  readonly clock: GuestClock;
  readonly bus = new SystemBus();
  readonly irqs: IrqRouter;
  /** What was asked of the power control. */
  readonly power: string[] = [];
  readonly powerControl = {
    reset: (why: string) => void this.power.push(`reset: ${why}`),
    powerOff: () => void this.power.push('off'),
  };

  constructor(ram: Ram = new FakeRam(8 << 20)) {
    this.vm = new FakeVm(ram);
    this.host = new BenchClock(this.vm);
    this.clock = guestClock(this.vm, this.host);
    this.irqs = new IrqRouter(this.vm);
    this.vm.setExitHandler(this.bus);
  }

  level(gsi: number): boolean {
    return this.vm.levels.get(gsi) ?? false;
  }
}

/** Lets promises settle. */
export const settle = async () => {
  for (let i = 0; i < 20; i++) await new Promise<void>(resolve => setImmediate(resolve));
};

export class TestChar implements CharBackend {
  readonly id = 'chr';
  readonly label = 'test';
  readonly connected = true;
  readonly terminal = undefined;
  written = '';
  /** The world takes nothing. */
  full = false;
  paused = false;
  private room: () => void = () => undefined;
  private data: (bytes: Uint8Array) => void = () => undefined;
  sendBreak: () => void = () => undefined;

  write(bytes: Uint8Array): boolean {
    if (!this.full) this.written += Buffer.from(bytes).toString('latin1');
    return !this.full;
  }
  onRoom(fn: () => void): void {
    this.room = fn;
  }
  onData(fn: (bytes: Uint8Array) => void): void {
    this.data = fn;
  }
  onBreak(fn: () => void): void {
    this.sendBreak = fn;
  }
  onInputEnd(): void {}
  onEvent(): void {}
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  hangUp(): void {}
  release(): void {}
  dispose(): void {}

  type(text: string): void {
    this.data(Buffer.from(text, 'latin1'));
  }
  drain(): void {
    this.full = false;
    this.room();
  }
}

/** A disk whose answers come when the test lets them. */
export class TestDisk implements BlockBackend {
  readonly id = 'disk0';
  readonly nodeName = 'node0';
  readonly data: Buffer;
  readonly log: string[] = [];
  /** Answers wait here while held. */
  held: (() => void)[] | undefined;
  broken = false;
  hasMedium = true;
  tray: MediumTray | undefined;
  /** Where the device has moved its tray. */
  readonly trayMoves: boolean[] = [];

  constructor(
    sectors = 2048,
    readonly readOnly = false,
  ) {
    this.data = Buffer.alloc(sectors * 512);
  }
  get length(): number {
    return this.data.length;
  }
  useTray(tray: MediumTray): void {
    this.tray = tray;
  }
  trayMoved(open: boolean): void {
    this.trayMoves.push(open);
  }
  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    for (const go of held) go();
  }
  async pread(offset: number, length: number): Promise<Buffer> {
    await this.answer(`read ${offset} ${length}`);
    return Buffer.from(this.data.subarray(offset, offset + length));
  }
  async pwrite(offset: number, data: Uint8Array, options?: { fua?: boolean }): Promise<void> {
    await this.answer(`write ${offset} ${data.length}${options?.fua ? ' fua' : ''}`);
    this.data.set(data, offset);
  }
  flush(): Promise<void> {
    return this.answer('flush');
  }
  discard(offset: number, length: number): Promise<void> {
    return this.answer(`discard ${offset} ${length}`);
  }
  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.answer(`zeroes ${offset} ${length}`);
    this.data.fill(0, offset, offset + length);
  }
  onResize(listener: () => void): void {
    this.resized = listener;
  }
  resized: () => void = () => undefined;
  async drain(): Promise<void> {
    // nothing waits here but what is held
  }
  /** What a failed request does. */
  action: ErrorAction = 'report';
  errorAction(operation: 'read' | 'write'): ErrorAction {
    this.log.push(`${operation} error: ${this.action}`);
    return this.action;
  }
  private async answer(what: string): Promise<void> {
    this.log.push(what);
    if (this.held) await new Promise<void>(resolve => this.held!.push(resolve));
    if (this.broken) throw new Error('input/output error');
  }
}

export class TestNet {
  readonly id = 'net0';
  readonly type = 'test';
  readonly sent: Buffer[] = [];
  full = false;
  running = false;
  nic: NicPort | undefined;
  /** Frames that the guest had no buffer for. */
  readonly waiting: Buffer[] = [];
  private room: () => void = () => undefined;

  /** The parts of the contract that a NIC uses. */
  get netdev(): Netdev {
    return this as unknown as Netdev;
  }
  send(frame: Uint8Array): boolean {
    if (!this.full) this.sent.push(Buffer.from(frame));
    return !this.full;
  }
  onRoom(fn: () => void): void {
    this.room = fn;
  }
  attachNic(nic: NicPort): void {
    this.nic = nic;
  }
  nicReady(): void {
    while (this.waiting.length > 0 && this.nic!.receive(this.waiting[0])) this.waiting.shift();
  }
  setRunning(running: boolean): void {
    this.running = running;
  }
  drain(): void {
    this.full = false;
    this.room();
  }
  arrive(frame: Buffer): void {
    if (this.waiting.length > 0 || !this.nic!.receive(frame)) this.waiting.push(frame);
  }
}
