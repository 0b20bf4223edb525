/** No wait without an end: every await on a peer, a disk or the machine goes through here. */
import { VmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';

/** The promise, or a VmError after ms. What the promise does later is nobody's business any more. */
export function within<T>(clock: Clock, ms: number, what: string, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.timer(ms, () => reject(new VmError(`${what}: nothing within ${ms} ms`)));
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
