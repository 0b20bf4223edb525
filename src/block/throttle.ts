/** Limits of a drive (`throttling.*`): leaky buckets that hold one tenth of a second; a request waits until it fits, in order. */
import type { Clock } from '../host/ports.js';

export interface ThrottleLimits {
  bpsTotal?: number;
  bpsRead?: number;
  bpsWrite?: number;
  iopsTotal?: number;
  iopsRead?: number;
  iopsWrite?: number;
}

const BURST_SECONDS = 0.1;

export class Throttle {
  /** Time when each bucket will be empty, ms. */
  private readonly emptyAt = new Map<keyof ThrottleLimits, number>();
  private tail: Promise<void> = Promise.resolve();

  constructor(
    private readonly clock: Clock,
    readonly limits: ThrottleLimits,
  ) {}

  /** Resolves when the request may go. */
  admit(direction: 'read' | 'write', bytes: number): Promise<void> {
    const turn = this.tail.then(async () => {
      const waitMs = this.charge(direction, bytes);
      if (waitMs > 0) await new Promise<void>(resolve => this.clock.timer(waitMs, resolve));
    });
    this.tail = turn;
    return turn;
  }

  private charge(direction: 'read' | 'write', bytes: number): number {
    const now = this.clock.nowMs();
    const names = direction === 'read' ? (['bpsTotal', 'bpsRead', 'iopsTotal', 'iopsRead'] as const) : (['bpsTotal', 'bpsWrite', 'iopsTotal', 'iopsWrite'] as const);
    let waitMs = 0;
    for (const name of names) {
      const limit = this.limits[name];
      if (limit === undefined) continue;
      const units = name.startsWith('bps') ? bytes : 1;
      const start = Math.max(now, this.emptyAt.get(name) ?? now);
      this.emptyAt.set(name, start + (units * 1000) / limit);
      waitMs = Math.max(waitMs, start - now - BURST_SECONDS * 1000);
    }
    return waitMs;
  }
}
