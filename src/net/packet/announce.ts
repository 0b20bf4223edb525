/**
 * Announce-self: some rounds, further and further apart, for a switch may miss one (QEMU's announce
 * parameters and its schedule).
 */
import type { Disposable } from '../../base/disposable.js';
import type { Clock } from '../../host/ports.js';

export interface AnnounceSchedule {
  initialMs: number;
  maxMs: number;
  rounds: number;
  stepMs: number;
}
export const defaultAnnounce: AnnounceSchedule = {
  initialMs: 50,
  maxMs: 550,
  rounds: 5,
  stepMs: 100,
};

export class Announcer implements Disposable {
  private timer: Disposable | undefined;

  constructor(private readonly clock: Clock) {}

  /** The first round now. A start while one runs begins anew. */
  start(announce: () => void, schedule: AnnounceSchedule = defaultAnnounce): void {
    this.dispose();
    this.round(announce, schedule, 0);
  }

  dispose(): void {
    this.timer?.dispose();
    this.timer = undefined;
  }

  private round(announce: () => void, schedule: AnnounceSchedule, done: number): void {
    const { initialMs, maxMs, rounds, stepMs } = schedule;
    if (done >= rounds) return;
    announce();
    if (done + 1 < rounds)
      this.timer = this.clock.timer(Math.min(maxMs, initialMs + done * stepMs), () =>
        this.round(announce, schedule, done + 1),
      );
  }
}
