/** Virtual time, seeded chance, and nodes whose whole event delivery can be paused or ended. One event at a time; promises run dry between two. */
import type { Disposable } from '../../src/base/disposable.js';
import type { Clock } from '../../src/host/ports.js';

/** jest looks globals up the slow way. */
const { imul, floor } = Math;

/** mulberry32 */
export class Random {
  constructor(private state: number) {}
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = imul(t ^ (t >>> 15), t | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  below(n: number): number {
    return floor(this.next() * n);
  }
  between(min: number, max: number): number {
    return min + this.next() * (max - min);
  }
  chance(p: number): boolean {
    return this.next() < p;
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }
}

interface Event {
  at: number;
  seq: number;
  fn: () => void;
}

export class World {
  now = 0;
  readonly random: Random;
  /** One line per event of interest: time, node, what. */
  readonly log: string[] = [];
  readonly failures: string[] = [];
  private readonly heap: Event[] = [];
  private seq = 0;
  private ids = 1;

  constructor(readonly seed: number) {
    this.random = new Random(seed);
  }

  nextId(): number {
    return this.ids++;
  }

  note(who: string, what: string): void {
    this.log.push(`${this.now.toFixed(2).padStart(9)} ${who} ${what}`);
  }

  fail(what: string): void {
    this.note('CHECK', what);
    this.failures.push(what);
  }

  at(time: number, fn: () => void): Event {
    const event = { at: Math.max(time, this.now), seq: this.seq++, fn };
    const heap = this.heap;
    let i = heap.push(event) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(heap[i], heap[parent])) break;
      [heap[i], heap[parent]] = [heap[parent], heap[i]];
      i = parent;
    }
    return event;
  }

  after(ms: number, fn: () => void): Event {
    return this.at(this.now + ms, fn);
  }

  async run(untilMs: number): Promise<void> {
    await settle();
    while (this.heap.length > 0 && this.heap[0].at <= untilMs && this.failures.length === 0) {
      const event = this.pop();
      this.now = event.at;
      event.fn();
      await settle();
    }
    this.now = Math.max(this.now, untilMs);
  }

  private pop(): Event {
    const heap = this.heap;
    const top = heap[0];
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      for (let i = 0; ; ) {
        let least = i;
        for (const child of [2 * i + 1, 2 * i + 2]) if (child < heap.length && before(heap[child], heap[least])) least = child;
        if (least === i) break;
        [heap[i], heap[least]] = [heap[least], heap[i]];
        i = least;
      }
    }
    return top;
  }
}

const before = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.seq < b.seq);
/** Every promise that can go on has gone on. */
const settle = () => new Promise<void>(resolve => setImmediate(resolve));

/** A host. Everything that reaches its code goes through deliver(). */
export class SimNode {
  dead = false;
  private pausedUntil = 0;
  private timersHeld: (() => void)[] = [];
  private inputHeld: (() => void)[] = [];
  private readonly deathListeners: ((clean: boolean) => void)[] = [];
  /** Its clock's rate: two hosts do not agree. */
  private readonly rate: number;

  constructor(
    readonly name: string,
    readonly world: World,
  ) {
    this.rate = world.random.between(0.99, 1.01);
  }

  get paused(): boolean {
    return this.pausedUntil > this.world.now;
  }

  deliver(kind: 'timer' | 'input', fn: () => void): void {
    if (this.dead) return;
    if (this.paused) (kind === 'timer' ? this.timersHeld : this.inputHeld).push(fn);
    else fn();
  }

  /** SIGSTOP for so long. Afterwards timers come first, as in the real main loop, then what waited in sockets. */
  pause(ms: number): void {
    if (this.dead) return;
    this.world.note(this.name, `paused for ${ms.toFixed(1)} ms`);
    this.pausedUntil = this.world.now + ms;
    this.world.after(ms, () => {
      this.world.note(this.name, 'goes on');
      for (const fn of [...this.timersHeld.splice(0), ...this.inputHeld.splice(0)]) this.world.after(0, () => this.deliver('input', fn));
    });
  }

  /** clean: the kernel lives and closes the sockets (kill -9). Otherwise power is off, and nobody says anything. */
  crash(clean: boolean): void {
    if (this.dead) return;
    this.dead = true;
    this.world.note(this.name, clean ? 'killed' : 'power off');
    for (const listener of this.deathListeners) listener(clean);
  }

  onDeath(fn: (clean: boolean) => void): void {
    this.deathListeners.push(fn);
  }

  readonly clock: Clock = {
    nowMs: () => this.world.now * this.rate,
    wallMs: () => 1.7e12 + this.world.now * this.rate,
    timer: (delayMs: number, fn: () => void): Disposable => {
      let live = true;
      this.world.after(Math.max(0, delayMs) / this.rate, () => live && this.deliver('timer', () => live && fn()));
      return { dispose: () => void (live = false) };
    },
  };
}
