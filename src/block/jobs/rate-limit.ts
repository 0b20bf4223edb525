/**
 * Bytes per second, as a bucket that may run ahead by one slice, so that short requests do not each
 * wait for a timer.
 */
import type { Clock } from '../../host/ports.js';

const SLICE_MS = 100;

export class RateLimit {
  /** When everything that was let through has been paid for. */
  private paidAtMs = 0;

  constructor(
    private readonly clock: Clock,
    private bytesPerSecond: number,
  ) {}

  get speed(): number {
    return this.bytesPerSecond;
  }

  /** No request is longer, or it would have its slice for nothing. */
  get sliceBytes(): number {
    return this.bytesPerSecond === 0
      ? Infinity
      : Math.ceil((this.bytesPerSecond * SLICE_MS) / 1000);
  }

  /** What was let through before counts no more. */
  setSpeed(bytesPerSecond: number): void {
    this.bytesPerSecond = bytesPerSecond;
    this.paidAtMs = 0;
  }

  /**
   * 0: the bytes may be sent, and are charged. Otherwise the milliseconds to wait before asking
   * again.
   */
  take(bytes: number): number {
    if (this.bytesPerSecond === 0) return 0;
    const nowMs = this.clock.nowMs();
    const aheadMs = this.paidAtMs - nowMs;
    if (aheadMs > SLICE_MS) return aheadMs - SLICE_MS;
    this.paidAtMs = Math.max(nowMs, this.paidAtMs) + (bytes * 1000) / this.bytesPerSecond;
    return 0;
  }
}
