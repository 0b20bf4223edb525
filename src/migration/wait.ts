/** No wait without an end: every await on a peer, a disk or the machine goes through here. */
import { VmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';

/** Something that grows for as long as what is awaited gets on. */
export type Progress = () => number;

/**
 * The promise, or a VmError after ms; with progress, after ms in which that did not grow: then slowness alone ends nothing. What the
 * promise does later is nobody's business any more.
 */
export function within<T>(
  clock: Clock,
  ms: number,
  what: string,
  promise: Promise<T>,
  progress: Progress = () => 0,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let seen = progress();
    const late = () => {
      const now = progress();
      if (now === seen) return reject(new VmError(`${what}: nothing within ${ms} ms`));
      seen = now;
      timer = clock.timer(ms, late);
    };
    let timer = clock.timer(ms, late);
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
