/** No wait without an end: every await on a peer, a disk or the machine goes through here. */
import { VmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Clock } from '../host/ports.js';

/** Something that grows for as long as what is awaited gets on. */
export type Progress = () => number;

/** A time-out is so many ticks of our own main loop. */
const ticks = 8;
/** A tick that comes so much too late does not count, even if ticks are shorter. */
const lateMs = 100;

/**
 * The promise, or a VmError after ms; with progress, after ms in which that did not grow: then
 * slowness alone ends nothing. What the promise does later is nobody's business any more. A process
 * that was stopped and goes on has its timers fire before it reads what waits in its sockets and
 * files, so a tick that is far too late is taken for such a stop.
 */
export function within<T>(
  clock: Clock,
  ms: number,
  what: string,
  promise: Promise<T>,
  progress: Progress = () => 0,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const tickMs = ms / ticks;
    let left = ticks;
    let seen = progress();
    let timer: Disposable;
    const arm = () => {
      const dueMs = clock.nowMs() + tickMs;
      timer = clock.timer(tickMs, () => {
        const now = progress();
        if (now !== seen) left = ticks;
        else if (clock.nowMs() - dueMs < Math.max(tickMs, lateMs)) left--;
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
