/** One VM over the addon: starting and stopping, exits, doorbells, interrupts, state and time. */
import { assert, VmError } from '../base/errors.js';
import { type NativeVcpu, type NativeVm, type VmMode, vmModule } from './addon.js';
import { withLevelIrqs } from './chips-image.js';
import type { AccelName } from './choose.js';
import type {
  CpuModel,
  Doorbell,
  ExitHandler,
  StateBlob,
  StopReason,
  VmAccel,
} from './contract.js';
import { plainCpu } from './cpu-model.js';
import { ExitPage } from './exit-page.js';
import type { AddonRam } from './ram.js';
import { registerLines } from './registers.js';
import { withTrialLoad } from './trial-load.js';

/** ParkReason in native/vcpu/thread.h. */
const Park = { REQUESTED: 1, SHUTDOWN: 2, INTERNAL_ERROR: 3 } as const;
const MAX_DOORBELLS = 1024;

/** Until the machine has set its own: an empty bus, which floats high. */
const nobody: ExitHandler = {
  pioRead: () => 0xffffffff,
  pioWrite: () => undefined,
  mmioRead: () => 0xffff_ffff_ffff_ffffn,
  mmioWrite: () => undefined,
};

export interface VmOptions {
  /** Resolved by cpu-model.ts; absent: the plain one. */
  readonly cpu?: CpuModel;
  /** KVM's log of dirty pages is its rings, where the kernel has them; otherwise bitmaps. */
  readonly dirtyRing?: boolean;
  /** Absent: threaded. The others are the software CPU's. */
  readonly mode?: VmMode;
}

/**
 * Threaded: each vCPU has its own thread and follows the host's clock. Lockstep: one thread runs
 * them in turns of so many instructions, and guest time is counted in instructions, too, so that
 * from the same state the same inputs give the same run (native/vcpu/lockstep.h).
 */
export class AddonVm implements VmAccel {
  readonly cpuModel: CpuModel;
  readonly apicIds: readonly number[];
  readonly cpus: readonly StateBlob[];
  readonly chips: StateBlob;
  protected readonly native: NativeVm;
  protected readonly cpu: NativeVcpu; // the first
  protected readonly nativeCpus: readonly NativeVcpu[];
  protected handler: ExitHandler = nobody;
  private readonly pages: readonly ExitPage[];
  private readonly rings = new Map<number, () => void>();
  private readonly stopped: ((reason: StopReason) => void)[] = [];
  private waiting: (() => void)[] = [];
  protected isRunning = false;
  private disposed = false;

  constructor(
    readonly ram: AddonRam,
    readonly name: AccelName = 'soft',
    options: VmOptions = {},
  ) {
    const module = vmModule();
    this.cpuModel = options.cpu ?? plainCpu();
    this.native = new module.Vm(
      ram.native,
      this.name,
      options.mode ?? 'threaded',
      this.cpuModel,
      options.dirtyRing === true,
    );
    this.apicIds = this.native.apicIds();
    this.nativeCpus = this.apicIds.map((_, index) => new module.Vcpu(this.native, index));
    this.cpu = this.nativeCpus[0];
    this.pages = this.nativeCpus.map((_, index) => new ExitPage(this.native.exitPage(index)));
    this.native.setCallbacks(
      cpu => this.pages[cpu].answer(this.handler),
      id => this.rings.get(id)?.(),
      (why, error) => this.parked(why, error),
    );
    const blobs = this.nativeCpus.map(vcpuBlob);
    this.cpus = this.name === 'kvm' ? blobs.map(withTrialLoad) : blobs;
    this.chips = chipBlob(this.native);
  }

  get cpuCount(): number {
    return this.cpus.length;
  }

  threadIds(): readonly number[] {
    return this.native.threadIds();
  }

  setExitHandler(handler: ExitHandler): void {
    this.handler = handler;
  }

  setIrq(gsi: number, level: boolean): void {
    this.native.setIrq(gsi, level);
  }

  signalMsi(address: bigint, data: number): void {
    this.native.signalMsi(address, data);
  }

  addDoorbell(bell: Doorbell): { dispose(): void } {
    let id = 0;
    while (this.rings.has(id)) id++;
    if (id >= MAX_DOORBELLS) throw new VmError(`at most ${MAX_DOORBELLS} doorbells`);
    this.rings.set(id, bell.ring);
    this.native.addDoorbell(bell.space, bell.address, bell.size, bell.datamatch, id);
    return { dispose: () => this.removeDoorbell(id, bell.ring) };
  }

  get running(): boolean {
    return this.isRunning;
  }

  start(): void {
    assert(!this.isRunning, 'the VM is stopped when it is started');
    this.isRunning = true;
    this.native.start();
  }

  stop(): Promise<void> {
    if (!this.isRunning) return Promise.resolve();
    return new Promise(resolve => {
      this.waiting.push(resolve);
      this.native.stop();
    });
  }

  onStopped(fn: (reason: StopReason) => void): void {
    this.stopped.push(fn);
  }

  registers(cpu: number): string {
    return registerLines(this.cpus[cpu].save()).join('\n');
  }

  icount(cpu = 0): bigint {
    return this.nativeCpus[cpu].icount();
  }

  guestNs(): bigint {
    return this.native.now();
  }

  continueClock(ns: bigint): void {
    this.native.continueFrom(ns);
  }

  reset(): void {
    this.native.reset();
  }

  setLevelIrqs(irqs: readonly number[]): void {
    this.chips.load(withLevelIrqs(this.chips.save(), irqs));
  }

  guestStopped(): void {
    this.native.guestStopped();
  }

  /** Ends the vCPUs whatever they do. A pending stop() resolves. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.native.close();
    this.settle();
  }

  /**
   * No vCPU runs any more: the requested stops are settled first, then the listener for a vCPU that
   * stopped by itself is called.
   */
  protected parked(why: number, error: string): void {
    this.settle();
    if (why === Park.REQUESTED) return;
    const reason: StopReason =
      why === Park.SHUTDOWN ? { kind: 'shutdown' } : { kind: 'internal-error', message: error };
    for (const fn of this.stopped) fn(reason);
  }

  private settle(): void {
    this.isRunning = false;
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private removeDoorbell(id: number, ring: () => void): void {
    if (this.disposed || this.rings.get(id) !== ring) return;
    this.rings.delete(id);
    this.native.removeDoorbell(id);
  }
}

export type StepResult = 'budget' | 'halted' | 'stopped';

/**
 * Stepped: no thread, no time of its own. Between start() and stop(), runFor() executes so many
 * instructions of each vCPU, in turns, on the caller's thread; device accesses are plain calls, and
 * advance() moves guest time and fires the chips' timers. The same calls give the same run, always.
 */
export class SteppedVm extends AddonVm {
  private inside = false;

  constructor(ram: AddonRam, cpu?: CpuModel) {
    super(ram, 'soft', { cpu, mode: 'stepped' });
  }

  override start(): void {
    assert(!this.isRunning, 'the VM is stopped when it is started');
    this.isRunning = true;
  }

  /** From inside of an exit handler: takes effect at the end of that access. */
  override stop(): Promise<void> {
    if (this.inside) this.cpu.stop();
    this.isRunning = false;
    return Promise.resolve();
  }

  /**
   * 'stopped': it is not running, or ceased to during this call. 'halted': nothing to do before the
   * next interrupt.
   */
  runFor(instructions: number): StepResult {
    if (!this.isRunning) return 'stopped';
    assert(!this.inside, 'runFor is not called from an exit handler');
    this.inside = true;
    try {
      return this.stepped(this.cpu.runFor(instructions));
    } finally {
      this.inside = false;
    }
  }

  advance(ns: bigint | number): void {
    this.native.advance(ns);
  }

  /** Guest ns at which a chip's timer fires; undefined if none is set. */
  nextDeadlineNs(): bigint | undefined {
    const at = this.native.nextDeadline();
    return at === 0xffff_ffff_ffff_ffffn ? undefined : at;
  }

  /** Of the vCPU that cannot go on. */
  private error(): string {
    return this.nativeCpus.map(cpu => cpu.error()).find(text => text !== '') ?? '';
  }

  /** RunResult in native/vcpu/contract.h. */
  private stepped(result: number): StepResult {
    switch (result) {
      case 1:
        return this.isRunning ? 'budget' : 'stopped';
      case 2:
        return this.isRunning ? 'halted' : 'stopped';
      case 3:
        this.parked(Park.SHUTDOWN, '');
        return 'stopped';
      case 4:
        this.parked(Park.INTERNAL_ERROR, this.error());
        return 'stopped';
      default:
        return 'stopped';
    }
  }
}

function vcpuBlob(cpu: NativeVcpu): StateBlob {
  return {
    save: () => cpu.saveState(),
    check: data => cpu.checkState(data),
    load: data => cpu.loadState(data),
  };
}

function chipBlob(vm: NativeVm): StateBlob {
  return {
    save: () => vm.saveChips(),
    check: data => vm.checkChips(data),
    load: data => vm.loadChips(data),
  };
}
