/** No wait without an end: every await on a peer, a disk or the machine goes through here. */
import { VmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Clock } from '../host/ports.js';

/** A counter that grows while the awaited work proceeds. */
export type ProgressCounter = () => number;

/** A time-out is divided into this many ticks of the main loop. */
const TICKS = 8;
/** A tick that is late by more than this is not counted, however short a tick is. */
const LATE_MS = 100;

/**
 * Awaits the promise, and throws a VmError after ms. With a progress counter the time begins anew
 * whenever it has grown, so that a slow but working peer is not given up. The promise's later
 * result is ignored. In a process that was stopped and resumed, timers fire before the data in
 * sockets and files is read; a tick that is far too late is a sign of that and does not count.
 */
export function within<T>(
  clock: Clock,
  ms: number,
  what: string,
  promise: Promise<T>,
  progress: ProgressCounter = () => 0,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const tickMs = ms / TICKS;
    let left = TICKS;
    let seen = progress();
    let timer: Disposable;
    const arm = () => {
      const dueMs = clock.nowMs() + tickMs;
      timer = clock.timer(tickMs, () => {
        const now = progress();
        if (now !== seen) left = TICKS;
        else if (clock.nowMs() - dueMs < Math.max(tickMs, LATE_MS)) left--;
        seen = now;
        if (left > 0) arm();
        else reject(new VmError(`${what}: nothing within ${ms} ms`));
      });
    };
    arm();
    promise.then(
      value => {
        timer.dispose();
        resolve(value);
      },
      error => {
        timer.dispose();
        reject(error);
      },
    );
  });
}

export function sleep(clock: Clock, ms: number): Promise<void> {
  return new Promise(resolve => void clock.timer(ms, resolve));
}
