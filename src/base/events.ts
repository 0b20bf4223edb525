/**
 * Typed events: a map from name to payload. Listeners run in order of registration, synchronously.
 */
import type { Disposable } from './disposable.js';

export class Events<M extends object> {
  private readonly listeners = new Map<keyof M, Set<(payload: never) => void>>();

  on<K extends keyof M>(name: K, listener: (payload: M[K]) => void): Disposable {
    let set = this.listeners.get(name);
    if (!set) this.listeners.set(name, (set = new Set()));
    set.add(listener);
    return { dispose: () => void set.delete(listener) };
  }

  emit<K extends keyof M>(name: K, payload: M[K]): void {
    for (const listener of [...(this.listeners.get(name) ?? [])])
      (listener as (payload: M[K]) => void)(payload);
  }

  /** The next event of this name; bounded waits are the caller's (see host Clock). */
  once<K extends keyof M>(name: K): Promise<M[K]> {
    return new Promise(resolve => {
      const subscription = this.on(name, payload => {
        subscription.dispose();
        resolve(payload);
      });
    });
  }
}
