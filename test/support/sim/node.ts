/**
 * A process on a simulated host: everything that reaches its code goes through deliver(), so that
 * it can be stopped or ended as a whole.
 * A host (its files, its clocks) outlives the process; the next process on it is another node.
 */
import { SimClock } from './clock.js';
import { SimFiles, SimStorage } from './files.js';
import type { World } from './world.js';

/** What stays when a process ends: its image files, and how its clocks run. */
export class SimMachineHost {
  readonly storage: SimStorage;
  /** Two hosts' clocks do not run equally fast. */
  readonly rate: number;

  constructor(
    readonly name: string,
    readonly world: World,
  ) {
    this.rate = world.random.between(0.99, 1.01);
    this.storage = new SimStorage(world, name);
  }
}

export class SimNode {
  dead = false;
  readonly clock: SimClock;
  readonly files: SimFiles;
  private pausedUntil = 0;
  private timersHeld: (() => void)[] = [];
  private inputHeld: (() => void)[] = [];
  private readonly deathListeners: ((clean: boolean) => void)[] = [];

  constructor(
    readonly name: string,
    readonly world: World,
    readonly host = new SimMachineHost(name, world),
  ) {
    this.clock = new SimClock(this, host.rate);
    this.files = new SimFiles(this, host.storage);
  }

  get paused(): boolean {
    return this.pausedUntil > this.world.now;
  }

  deliver(kind: 'timer' | 'input', fn: () => void): void {
    if (this.dead) return;
    if (this.paused) (kind === 'timer' ? this.timersHeld : this.inputHeld).push(fn);
    else fn();
  }

  /**
   * SIGSTOP for so long. Afterwards timers come first, as in the real main loop, then what waited
   * in sockets.
   */
  pause(ms: number): void {
    if (this.dead) return;
    this.world.note(this.name, `paused for ${ms.toFixed(1)} ms`);
    this.pausedUntil = Math.max(this.pausedUntil, this.world.now + ms);
    this.world.at(this.pausedUntil, () => this.goOn());
  }

  private goOn(): void {
    if (this.paused) return;
    this.world.note(this.name, 'goes on');
    for (const fn of [...this.timersHeld.splice(0), ...this.inputHeld.splice(0)]) {
      this.world.after(0, () => this.deliver('input', fn));
    }
  }

  /**
   * clean: the kernel lives, closes the sockets and keeps what was written (kill -9). Otherwise
   * power is off: nothing is said any more, and what was not synced may be lost.
   */
  crash(clean: boolean): void {
    if (this.dead) return;
    this.dead = true;
    this.world.note(this.name, clean ? 'killed' : 'power off');
    for (const listener of this.deathListeners) listener(clean);
    this.files.end(clean);
  }

  onDeath(fn: (clean: boolean) => void): void {
    this.deathListeners.push(fn);
  }
}
