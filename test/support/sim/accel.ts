/**
 * The CPU of a simulated machine: a program in JavaScript that takes a step every few milliseconds
 * of virtual time. What it knows lies in RAM and in its registers, so a machine that was loaded
 * goes on exactly as the other one did. Registers have the layout of every backend's; the chips
 * hold what was signalled and not taken yet.
 */
import type { AccelName } from '../../../src/accel/choose.js';
import type { Accelerators } from '../../../src/accel/accelerators.js';
import type { CpuModel, Doorbell, StateBlob } from '../../../src/accel/contract.js';
import { registerLines } from '../../../src/accel/registers.js';
import { VcpuImage } from '../../../src/accel/vcpu-image.js';
import { VmError } from '../../../src/base/errors.js';
import { FakeVm } from '../fake-vm.js';
import { Random } from '../random.js';
import type { SimNode } from './node.js';
import { SimRam } from './ram.js';

const IMAGE_BYTES = 6176;
const CHIPS_BYTES = 12;
const BITS_OF_VECTOR = 31;
/** Longer than anybody waits for a stop. */
const SLOW_STOP_MS = 90;

/** What a simulation makes of its CPU. */
export interface SimCpuOptions {
  /** Chance that a stop takes longer than anybody waits. */
  readonly slowStop: number;
  /** Of the chips' state beyond what they need. */
  readonly ballastBytes: number;
  /** The state is about to be saved: its number. */
  saved(accel: SimAccel): number;
  /** A state of that number is here, and not loaded. */
  parsed(serial: number): void;
}

const idle: SimCpuOptions = {
  slowStop: 0,
  ballastBytes: 0,
  saved: () => 0,
  parsed: () => undefined,
};

export class SimAccel extends FakeVm {
  declare readonly ram: SimRam;
  /** Of the state that was loaded last. */
  loadedSerial = 0;
  /** The state was saved, and the guest has not run since. */
  sealed = false;
  /** One step of the guest's program. */
  program: () => void = () => undefined;
  /** Vectors that were signalled and not taken. */
  private pending = 0;
  /** Inputs that are high. */
  private inputs = 0;
  private image = Buffer.alloc(IMAGE_BYTES);
  /** The guest's chance: its state is a register. */
  private chanceOfGuest = new Random(0);
  private base = { ns: 0n, atMs: 0 };
  private stepping = false;
  /** The host's own chance, which no checkpoint carries. */
  private readonly chance: Random;

  constructor(
    private readonly node: SimNode,
    ramBytes: number,
    override readonly cpuModel: CpuModel,
    private readonly options: SimCpuOptions = idle,
  ) {
    super(new SimRam(ramBytes));
    this.chance = new Random(node.world.seed * 31 + node.name.charCodeAt(0));
  }

  override readonly cpus: readonly StateBlob[] = [
    {
      save: () => {
        new VcpuImage(this.image).setReg('rbx', BigInt(this.chanceOfGuest.state));
        return Buffer.from(this.image);
      },
      check: data =>
        data.length === IMAGE_BYTES ? undefined : `${data.length} bytes of registers`,
      load: data => {
        this.image = Buffer.from(data);
        this.chanceOfGuest = new Random(Number(new VcpuImage(this.image).reg('rbx')));
      },
    },
  ];

  override readonly chips: StateBlob = {
    save: () => {
      this.sealed = true;
      return this.chipsState(this.options.saved(this));
    },
    check: data => {
      if (data.length !== CHIPS_BYTES + this.options.ballastBytes)
        return `${data.length} bytes of chips`;
      this.options.parsed(Buffer.from(data).readUInt32LE(8));
      return undefined;
    },
    load: data => {
      const state = Buffer.from(data);
      this.pending = state.readInt32LE(0);
      this.inputs = state.readInt32LE(4);
      this.loadedSerial = state.readUInt32LE(8);
    },
  };

  /** All that makes the guest go on as it does, but for RAM, devices and time. */
  states(): Buffer[] {
    return [this.chipsState(0), this.cpus[0].save()];
  }

  get random(): Random {
    return this.chanceOfGuest;
  }

  /** The guest starts its own chance from what the loader left for it. */
  seed(value: number): void {
    this.chanceOfGuest = new Random(value);
  }

  get rip(): number {
    return Number(new VcpuImage(this.image).reg('rip'));
  }

  set rip(value: number) {
    new VcpuImage(this.image).setReg('rip', BigInt(value));
  }

  isHigh(gsi: number): boolean {
    return (this.inputs & (1 << gsi)) !== 0;
  }

  /** True once for each time that it was signalled. */
  takes(vector: number): boolean {
    const bit = 1 << (vector & BITS_OF_VECTOR);
    const signalled = (this.pending & bit) !== 0;
    this.pending &= ~bit;
    return signalled;
  }

  override setIrq(gsi: number, level: boolean): void {
    const bit = 1 << gsi;
    this.inputs = level ? this.inputs | bit : this.inputs & ~bit;
  }

  override signalMsi(_address: bigint, data: number): void {
    this.pending |= 1 << (data & BITS_OF_VECTOR);
  }

  override registers(): string {
    return registerLines(this.cpus[0].save()).join('\n');
  }

  override guestNs(): bigint {
    const { ns, atMs } = this.base;
    return ns + BigInt(Math.max(0, Math.round((this.node.clock.nowMs() - atMs) * 1e6)));
  }

  override continueClock(ns: bigint): void {
    this.base = { ns, atMs: this.node.clock.nowMs() };
  }

  override reset(): void {
    this.sealed = false;
    this.continueClock(0n);
    this.pending = 0;
    this.image = Buffer.alloc(IMAGE_BYTES);
  }

  override start(): void {
    this.running = true;
    this.sealed = false;
    this.schedule();
  }

  override async stop(): Promise<void> {
    if (!this.running) return;
    const ms = this.chance.chance(this.options.slowStop)
      ? SLOW_STOP_MS
      : this.chance.between(0, 0.5);
    await new Promise<void>(resolve => void this.node.clock.timer(ms, resolve));
    this.running = false;
  }

  /** The main loop hears of it in a turn of its own, if the device still listens then. */
  protected override ring(bell: Doorbell): void {
    this.node.clock.timer(0, () => this.bells.has(bell) && bell.ring());
  }

  private chipsState(serial: number): Buffer {
    const state = Buffer.alloc(CHIPS_BYTES + this.options.ballastBytes, 7);
    state.writeInt32LE(this.pending, 0);
    state.writeInt32LE(this.inputs, 4);
    state.writeUInt32LE(serial, 8);
    return state;
  }

  private schedule(): void {
    if (this.stepping) return;
    this.stepping = true;
    this.node.clock.timer(this.chance.between(1, 5), () => {
      this.stepping = false;
      if (!this.running) return;
      this.program();
      this.schedule();
    });
  }
}

/** Those of a simulated host: what they make is a CPU of its own. */
export const simAccelerators = (
  make: (options: { name: AccelName; cpu: CpuModel; ramBytes: number }) => SimAccel,
): Accelerators => ({
  kvmPresent: false,
  choose: wish => {
    if (wish === 'kvm') throw new VmError('-accel kvm: a simulated host has none');
    return { name: 'soft', why: 'a simulated host has no other' };
  },
  create: make,
});
