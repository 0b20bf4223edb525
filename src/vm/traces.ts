/** Trace events that are printed: those of -trace, and what the monitor switches since. */
import type { Disposable } from '../base/disposable.js';
import { didYouMean } from '../base/similar.js';
import { onTrace, traceNames } from '../base/trace.js';

export class TraceSwitches implements Disposable {
  private readonly printed = new Map<string, Disposable>();

  /** print: one line for people. */
  constructor(private readonly print: (line: string) => void) {}

  list(): { name: string; on: boolean }[] {
    return [...traceNames].sort().map(name => ({ name, on: this.printed.has(name) }));
  }

  set(name: string, on: boolean): void {
    if (on === this.printed.has(name)) return;
    if (!on) {
      this.printed.get(name)?.dispose();
      this.printed.delete(name);
      return;
    }
    const line = (fields: object) =>
      Object.entries(fields)
        .map(([key, value]) => ` ${key}=${String(value)}`)
        .join('');
    this.printed.set(
      name,
      onTrace(name, event => this.print(`${event.name}${line(event.fields)}`)),
    );
  }

  /**
   * -trace: switches every event that matches; `*` stands for anything. A plain name that no event
   * has is reported, because its missing lines would not be noticed.
   */
  enable(glob: string): void {
    if (!glob.includes('*') && !traceNames.has(glob))
      return this.print(
        `-trace ${glob}: there is no trace event '${glob}'.${didYouMean(glob, traceNames)}`,
      );
    const pattern = new RegExp(
      `^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`,
    );
    for (const { name } of this.list()) if (pattern.test(name)) this.set(name, true);
  }

  dispose(): void {
    for (const name of [...this.printed.keys()]) this.set(name, false);
  }
}
