/** Virtual time and seeded chance. One event at a time; promises run dry between two. */
import { Random } from '../random.js';

export interface Event {
  at: number;
  seq: number;
  /** undefined: it was called off. */
  fn: (() => void) | undefined;
}

export class World {
  now = 0;
  readonly random: Random;
  readonly failures: string[] = [];
  private readonly notes: [at: number, who: string, what: string][] = [];
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
    this.notes.push([this.now, who, what]);
  }

  /** One line per event of interest: time, node, what. */
  get log(): string[] {
    return this.notes.map(([at, who, what]) => `${at.toFixed(2).padStart(9)} ${who} ${what}`);
  }

  fail(what: string): void {
    this.note('CHECK', what);
    this.failures.push(what);
  }

  at(time: number, fn: () => void): Event {
    const event = { at: Math.max(time, this.now), seq: this.seq++, fn };
    const { heap } = this;
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
      if (!event.fn) continue;
      this.now = event.at;
      event.fn();
      await settle();
    }
    this.now = Math.max(this.now, untilMs);
  }

  /** Time goes on until the promise settles. */
  async play<T>(promise: Promise<T>, limitMs = 5000): Promise<T> {
    let settled = false;
    promise.catch(() => undefined).finally(() => (settled = true));
    await settle();
    for (const end = this.now + limitMs; !settled && this.now < end;)
      await this.run(this.now + 0.5);
    if (!settled) throw new Error(`nothing settled within ${limitMs} ms`);
    return promise;
  }

  private pop(): Event {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      this.sink();
    }
    return top;
  }

  private sink(): void {
    const { heap } = this;
    for (let i = 0; ;) {
      let least = i;
      for (let child = 2 * i + 1; child <= 2 * i + 2 && child < heap.length; child++) {
        if (before(heap[child], heap[least])) least = child;
      }
      if (least === i) return;
      [heap[i], heap[least]] = [heap[least], heap[i]];
      i = least;
    }
  }
}

const before = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.seq < b.seq);
const { setImmediate } = globalThis;
/** Every promise that can go on has gone on. */
const settle = () => new Promise<void>(resolve => setImmediate(resolve));
