/** When the next checkpoint is due: after a delay, at once where somebody asks, or when it ends. */
import type { Clock } from '../host/ports.js';

export interface DueSide {
  readonly clock: Clock;
  delayMs(): number;
  /** The next one is not waited for. */
  hurried(): boolean;
}

export class Due {
  private wanted = false;
  private lastStartMs = 0;
  private wake: () => void = () => undefined;

  constructor(private readonly side: DueSide) {}

  /** As soon as possible; remembered while one is in flight. */
  request(): void {
    this.wanted = true;
    this.wake();
  }

  /** Something that a wait depends on has changed. */
  kick(): void {
    this.wake();
  }

  /** Delays count from here. */
  begun(): void {
    this.wanted = false;
    this.lastStartMs = this.side.clock.nowMs();
  }

  /** guard: a wait ends with its rejection, too. */
  async wait(guard: (woken: Promise<void>) => Promise<void>): Promise<void> {
    const { clock } = this.side;
    for (;;) {
      const left = this.lastStartMs + this.side.delayMs() - clock.nowMs();
      if (left <= 0 || this.wanted || this.side.hurried()) return;
      const woken = new Promise<void>(resolve => {
        const timer = clock.timer(left, resolve);
        this.wake = () => {
          timer.dispose();
          resolve();
        };
      });
      await guard(woken).finally(() => this.wake());
    }
  }
}
