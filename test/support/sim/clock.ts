/** Monotonic, boot and wall time of one host, at its own rate; each may stand still or jump. */
import type { Disposable } from '../../../src/base/disposable.js';
import type { Clock } from '../../../src/host/ports.js';
import type { SimNode } from './node.js';

const WALL_START_MS = 1.7e12;
const LEAST_MS = 0.001;

/** The world's time as one of the two clocks counts it. */
class Hand {
  private stoodMs = 0;
  private frozenAt: number | undefined;
  private jumpMs = 0;

  constructor(
    private readonly now: () => number,
    private readonly rate: number,
  ) {}

  get ms(): number {
    return ((this.frozenAt ?? this.now()) - this.stoodMs) * this.rate + this.jumpMs;
  }

  freeze(): void {
    this.frozenAt ??= this.now();
  }

  thaw(): void {
    if (this.frozenAt === undefined) return;
    this.stoodMs += this.now() - this.frozenAt;
    this.frozenAt = undefined;
  }

  jump(ms: number): void {
    this.jumpMs += ms;
  }
}

export class SimClock implements Clock {
  readonly monotonic: Hand;
  readonly boot: Hand;
  readonly wall: Hand;

  constructor(
    private readonly node: SimNode,
    private readonly rate: number,
  ) {
    const now = () => node.world.now;
    this.monotonic = new Hand(now, rate);
    this.boot = new Hand(now, rate);
    this.wall = new Hand(now, rate);
  }

  nowMs = () => this.monotonic.ms;
  bootMs = () => this.boot.ms;
  wallMs = () => WALL_START_MS + this.wall.ms;

  /** The main loop's timers go by the world's time: the kernel wakes whoever sleeps. */
  timer(delayMs: number, fn: () => void): Disposable {
    const { node, rate } = this;
    let live = true;
    // Less than this is not told apart from now.
    const ms = delayMs <= 0 ? 0 : Math.max(delayMs, LEAST_MS) / rate;
    const event = node.world.after(ms, () => {
      node.deliver('timer', () => {
        if (live) fn();
      });
    });
    return {
      dispose: () => {
        live = false;
        event.fn = undefined;
      },
    };
  }
}
