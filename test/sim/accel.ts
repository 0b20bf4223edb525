/**
 * The CPU of a simulated machine: it runs a program in steps of virtual time. Its registers are the
 * state of the program's chance, so a machine that was loaded goes on exactly as the other one did.
 */
import type { StateBlob, StopReason, VmAccel } from '../../src/accel/contract.js';
import { Random } from '../support/random.js';
import type { SimNode } from '../support/sim/node.js';
import { SimRam } from './ram.js';

export interface CpuFaults {
  /** Chance that a stop takes longer than anybody waits. */
  slowStop: number;
}

export class SimAccel {
  readonly ram: SimRam = new SimRam();
  readonly name = 'soft';
  readonly cpuCount = 1;
  running = false;
  /** The registers. */
  random: Random;
  clockNs = 0n;
  program: () => void = () => undefined;
  private stepping = false;
  private listener: (reason: StopReason) => void = () => undefined;
  /** The host's own chance, which no checkpoint carries. */
  private readonly chance: Random;

  constructor(
    private readonly node: SimNode,
    private readonly faults: CpuFaults,
  ) {
    this.random = new Random(node.world.seed * 7 + 1);
    this.chance = new Random(node.world.seed * 31 + node.name.charCodeAt(0));
  }

  get face(): VmAccel {
    return this as unknown as VmAccel;
  }

  readonly chips: StateBlob = {
    save: () => Buffer.alloc(1),
    check: () => undefined,
    load: () => undefined,
  };
  readonly cpus: readonly StateBlob[] = [
    {
      save: () => {
        const registers = Buffer.alloc(4);
        registers.writeUInt32BE(this.random.state);
        return registers;
      },
      check: data => (data.length === 4 ? undefined : `${data.length} bytes of registers`),
      load: data => void (this.random = new Random(Buffer.from(data).readUInt32BE())),
    },
  ];

  guestNs(): bigint {
    return this.clockNs;
  }

  continueClock(ns: bigint): void {
    this.clockNs = ns;
  }

  reset(): void {
    this.clockNs = 0n;
  }

  /** The guest here has no kvmclock. */
  guestStopped(): void {}

  onStopped(fn: (reason: StopReason) => void): void {
    this.listener = fn;
  }

  start(): void {
    this.running = true;
    this.schedule();
  }

  async stop(): Promise<void> {
    if (!this.running) return;
    const ms = this.chance.chance(this.faults.slowStop) ? 90 : this.chance.between(0, 0.5);
    await new Promise<void>(resolve => void this.node.clock.timer(ms, resolve));
    this.running = false;
  }

  /** The vCPU stops by itself. */
  halt(reason: StopReason): void {
    this.running = false;
    this.listener(reason);
  }

  private schedule(): void {
    if (this.stepping) return;
    this.stepping = true;
    this.node.clock.timer(this.chance.between(1, 5), () => {
      this.stepping = false;
      if (!this.running) return;
      this.program();
      this.clockNs += 1000n;
      this.schedule();
    });
  }
}
