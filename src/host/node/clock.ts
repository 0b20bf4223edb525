/** The host's clocks and timers. */
import { performance } from 'node:perf_hooks';
import type { Disposable } from '../../base/disposable.js';
import type { Clock } from '../ports.js';
import { hostModule } from './addon.js';

/** Node's timers hold no more; a longer one is set again when it comes. */
const LONGEST_MS = 2 ** 31 - 1;

export class NodeClock implements Clock {
  nowMs(): number {
    return performance.now();
  }

  /** Node's own clock is CLOCK_MONOTONIC, which stands still while the host is suspended. */
  bootMs(): number {
    return hostModule().bootMs();
  }

  /** Date.now() has whole milliseconds only. */
  wallMs(): number {
    return hostModule().wallMs();
  }

  timer(delayMs: number, fn: () => void): Disposable {
    const due = this.nowMs() + delayMs;
    let handle: NodeJS.Timeout;
    const arm = (restMs: number): void => {
      handle = setTimeout(
        () => {
          const rest = due - this.nowMs();
          if (rest > 1) arm(rest);
          else fn();
        },
        Math.min(Math.max(restMs, 0), LONGEST_MS),
      );
    };
    arm(delayMs);
    return { dispose: () => clearTimeout(handle) };
  }
}
