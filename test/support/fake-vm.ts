/**
 * A VM without CPUs, for device and machine tests: the test plays the guest (inb, outb, mmio), and
 * looks at interrupt levels.
 */
import type {
  CpuModel,
  Doorbell,
  ExitHandler,
  Ram,
  StateBlob,
  StopReason,
  VmAccel,
} from '../../src/accel/contract.js';
import { FakeRam } from './fake-ram.js';

export class FakeVm implements VmAccel {
  readonly cpuCount = 1;
  readonly name = 'soft';
  readonly cpuModel: CpuModel = {
    name: 'fake',
    vendor: 'AuthenticAMD',
    signature: 0,
    brand: '',
    features: [0, 0, 0, 0, 0, 0, 0, 0],
    sockets: 1,
    cores: 1,
    threads: 1,
  };
  readonly apicIds = [0];
  readonly levels = new Map<number, boolean>();
  readonly messages: { address: bigint; data: number }[] = [];
  readonly bells = new Set<Doorbell>();
  running = false;
  clockNs = 0n;
  resets = 0;
  levelIrqs: readonly number[] = [];
  told = 0; // how often the guest heard that it was stopped
  readonly cpus: readonly StateBlob[] = [blob('cpu')];
  readonly chips: StateBlob = blob('chips');
  private handler: ExitHandler | undefined;
  private readonly listeners: ((reason: StopReason) => void)[] = [];

  constructor(readonly ram: Ram = new FakeRam()) {}

  setExitHandler(handler: ExitHandler): void {
    this.handler = handler;
  }

  setIrq(gsi: number, level: boolean): void {
    this.levels.set(gsi, level);
  }

  signalMsi(address: bigint, data: number): void {
    this.messages.push({ address, data });
  }

  addDoorbell(bell: Doorbell): { dispose(): void } {
    this.bells.add(bell);
    return { dispose: () => void this.bells.delete(bell) };
  }

  start(): void {
    this.running = true;
  }

  async stop(): Promise<void> {
    this.running = false;
  }

  onStopped(fn: (reason: StopReason) => void): void {
    this.listeners.push(fn);
  }

  threadIds(): number[] {
    return [];
  }

  registers(): string {
    return 'RAX=0000000000000000';
  }

  icount(): bigint {
    return 0n;
  }

  guestNs(): bigint {
    return this.clockNs;
  }

  continueClock(ns: bigint): void {
    this.clockNs = ns;
  }

  guestStopped(): void {
    this.told++;
  }

  reset(): void {
    this.resets++;
    this.levelIrqs = [];
  }

  setLevelIrqs(irqs: readonly number[]): void {
    this.levelIrqs = irqs;
  }

  dispose(): void {
    this.running = false;
  }

  // --- what a guest would do

  in(port: number, size = 1): number {
    return this.bus().pioRead(port, size);
  }

  out(port: number, value: number, size = 1): void {
    if (!this.rung('pio', port, size, value)) this.bus().pioWrite(port, size, value);
  }

  load(gpa: number, size = 4): bigint {
    return this.bus().mmioRead(gpa, size);
  }

  store(gpa: number, value: bigint | number, size = 4): void {
    if (!this.rung('mmio', gpa, size, Number(value)))
      this.bus().mmioWrite(gpa, size, BigInt(value));
  }

  /** The vCPU stops by itself. */
  halt(reason: StopReason): void {
    this.running = false;
    for (const fn of this.listeners) fn(reason);
  }

  protected ring(bell: Doorbell): void {
    bell.ring();
  }

  private bus(): ExitHandler {
    if (!this.handler) throw new Error('no exit handler is set');
    return this.handler;
  }

  private rung(space: 'mmio' | 'pio', address: number, size: number, value: number): boolean {
    const bell = [...this.bells].find(
      b =>
        b.space === space &&
        b.address === address &&
        (b.size === 0 || b.size === size) &&
        (b.datamatch ?? value) === value,
    );
    if (bell) this.ring(bell);
    return bell !== undefined;
  }
}

function blob(name: string): StateBlob {
  let state = Buffer.from(name);
  return {
    save: () => Buffer.from(state),
    check: data =>
      Buffer.from(data).subarray(0, name.length).toString() === name
        ? undefined
        : `${name}: unknown state`,
    load: data => void (state = Buffer.from(data)),
  };
}
