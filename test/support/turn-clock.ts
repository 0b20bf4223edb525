/** A clock that does not move: each turn() fires the timers that are armed, none of the next. */
import type { Clock } from '../../src/host/ports.js';

export class TurnClock implements Clock {
  private armed: { fn: () => void }[] = [];

  nowMs = () => 0;
  bootMs = () => 0;
  wallMs = () => 0;

  get idle(): boolean {
    return this.armed.length === 0;
  }

  timer(_delayMs: number, fn: () => void): { dispose(): void } {
    const timer = { fn };
    this.armed.push(timer);
    return { dispose: () => (timer.fn = () => undefined) };
  }

  async turn(): Promise<void> {
    const due = this.armed;
    this.armed = [];
    for (const { fn } of due) fn();
    await new Promise(resolve => setImmediate(resolve));
  }
}
