/**
 * filter-buffer, as a user makes one: frames wait, and leave together at each interval. Bounded: at
 * the bound a frame is not taken, and its sender waits. Guest output that it lets go still waits in
 * the output hold.
 */
import type { Disposable } from '../../base/disposable.js';
import { BoundedQueue } from '../../base/queue.js';
import type { Clock } from '../../host/ports.js';
import type { Direction, FilterInfo, FilterPort, NetFilter, FilterVerdict } from '../contract.js';

const LIMIT_PACKETS = 4096;
const LIMIT_BYTES = 16 << 20;
const directions = ['rx', 'tx'] as const;

class Waiting {
  readonly frames = new BoundedQueue<Buffer>(LIMIT_PACKETS);
  bytes = 0;
  /** Frames that the last tick let go, and that found no room yet. */
  due = 0;
  refused = false;
}

export class FilterBuffer implements NetFilter, Disposable {
  private port: FilterPort | undefined;
  private tick: Disposable | undefined;
  private enabled = true;
  private readonly waiting = { rx: new Waiting(), tx: new Waiting() };

  constructor(
    readonly name: string,
    readonly direction: Direction | 'all',
    private intervalUs: number,
    private readonly clock: Clock,
  ) {}

  attach(port: FilterPort): void {
    this.port = port;
  }

  get on(): boolean {
    return this.enabled || directions.some(d => this.waiting[d].frames.length > 0);
  }

  get packets(): number {
    return this.waiting.rx.frames.length + this.waiting.tx.frames.length;
  }

  take(frame: Uint8Array, direction: Direction): FilterVerdict {
    const waiting = this.waiting[direction];
    if (waiting.bytes + frame.length > LIMIT_BYTES || !waiting.frames.push(Buffer.from(frame))) {
      waiting.refused = true;
      return 'full';
    }
    waiting.bytes += frame.length;
    if (this.enabled) this.tick ??= this.clock.timer(this.intervalUs / 1000, () => this.flush());
    else waiting.due = waiting.frames.length;
    return 'stolen';
  }

  pump(direction: Direction): void {
    const waiting = this.waiting[direction];
    for (
      let next = waiting.frames.peek();
      next && waiting.due > 0 && this.port?.forward(next, direction);
      next = waiting.frames.peek()
    ) {
      waiting.frames.shift();
      waiting.bytes -= next.length;
      waiting.due--;
    }
    if (!waiting.refused || waiting.frames.length >= LIMIT_PACKETS || waiting.bytes >= LIMIT_BYTES)
      return;
    waiting.refused = false;
    this.port?.room(direction);
  }

  /** Off: what waits leaves, then frames go past. */
  setOn(on: boolean): void {
    this.enabled = on;
    if (!on) this.flush();
  }

  /** From the next tick on. */
  setInterval(intervalUs: number): void {
    this.intervalUs = intervalUs;
  }

  /** What waits leaves; what finds no room even then is lost, as on any wire. */
  dispose(): void {
    this.flush();
    this.port = undefined;
  }

  info(): FilterInfo {
    return {
      name: this.name,
      type: 'filter-buffer',
      direction: this.direction,
      status: this.enabled ? 'on' : 'off',
      properties: { interval: this.intervalUs, packets: this.packets },
    };
  }

  private flush(): void {
    this.tick?.dispose();
    this.tick = undefined;
    for (const direction of directions) {
      this.waiting[direction].due = this.waiting[direction].frames.length;
      this.pump(direction);
    }
  }
}
