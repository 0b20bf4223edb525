/**
 * When the next checkpoint is due: after a delay; sooner where the guest's output waits for it, as
 * long as that does not take too much of the guest's time; at once where somebody asks, or when the
 * guest ends.
 */
import type { Clock } from '../host/ports.js';
import type { CheckpointPace } from './options.js';
import type { ColoStatistics } from './statistics.js';

/** Of an answer in several packets the last ones come so soon: one checkpoint covers them all. */
const SETTLE_MS = 1;
/** Output may cost the guest one part of its time in so many. */
const GUEST_SHARE = 10;

export interface DueSide {
  readonly clock: Clock;
  /** Live. */
  readonly pace: CheckpointPace;
  /** Live: of the checkpoints so far. */
  readonly cost: Pick<ColoStatistics, 'usualPauseMs' | 'abortedInRow'>;
  /** There is output that only the next checkpoint lets go. kick() when it begins to wait. */
  outputWaits(): boolean;
  /** The next one is not waited for. */
  hurried(): boolean;
}

export class Due {
  private wanted = false;
  private lastStartMs = 0;
  /** Output was seen to wait since then. */
  private outputMs: number | undefined;
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
    this.outputMs = undefined;
    this.lastStartMs = this.side.clock.nowMs();
  }

  /** guard: a wait ends with its rejection, too. */
  async wait(guard: (woken: Promise<void>) => Promise<void>): Promise<void> {
    const { clock } = this.side;
    for (;;) {
      const left = this.dueMs() - clock.nowMs();
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

  private dueMs(): number {
    const { side, lastStartMs } = this;
    const latest = lastStartMs + side.pace.checkpointDelayMs;
    if (!side.outputWaits()) return latest;
    this.outputMs ??= side.clock.nowMs();
    return Math.min(latest, Math.max(lastStartMs + this.gapMs(), this.outputMs + SETTLE_MS));
  }

  /** What was given up is not tried again sooner because output waits for it. */
  private gapMs(): number {
    const { pace, cost } = this.side;
    if (cost.abortedInRow > 0) return pace.checkpointDelayMs;
    return Math.max(pace.checkpointGapMs, cost.usualPauseMs * GUEST_SHARE);
  }
}
