/**
 * Exclusion of byte ranges: readers share, a writer is alone, everyone is served in order of
 * arrival. Used where the order of two overlapping requests must be one and the same on every copy
 * of the data.
 */
export type LockMode = 'shared' | 'exclusive';

interface Entry {
  readonly start: number;
  readonly end: number;
  readonly mode: LockMode;
  /** Earlier conflicting entries that are still there. */
  blockers: number;
  proceed?: () => void;
}

const conflict = (a: Entry, b: Entry) =>
  a.start < b.end && b.start < a.end && (a.mode === 'exclusive' || b.mode === 'exclusive');

export class RangeLock {
  /** Holders and waiters, in order of arrival. */
  private readonly entries: Entry[] = [];

  async run<T>(start: number, length: number, mode: LockMode, body: () => Promise<T>): Promise<T> {
    const entry: Entry = { start, end: start + length, mode, blockers: 0 };
    for (const earlier of this.entries) if (conflict(earlier, entry)) entry.blockers++;
    this.entries.push(entry);
    if (entry.blockers > 0) await new Promise<void>(resolve => (entry.proceed = resolve));
    try {
      return await body();
    } finally {
      this.release(entry);
    }
  }

  /** The whole device. */
  runAll<T>(mode: LockMode, body: () => Promise<T>): Promise<T> {
    return this.run(0, Number.MAX_SAFE_INTEGER, mode, body);
  }

  private release(entry: Entry): void {
    const at = this.entries.indexOf(entry);
    this.entries.splice(at, 1);
    for (let i = at; i < this.entries.length; i++) {
      const later = this.entries[i];
      if (conflict(entry, later) && --later.blockers === 0) later.proceed?.();
    }
  }
}
