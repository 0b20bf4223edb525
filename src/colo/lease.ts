/**
 * The primary's right to release output. A proof is an answer of the secondary (pong,
 * vmstate-received); what counts is when the primary asked, which lies before the answer was given.
 * The secondary opens its own network only after the lease of the last answer that it gave.
 * The clock counts the time that a host is suspended. It stands still while a host that is itself a
 * virtual machine is paused, so wall time is looked at too: if either says that it is too long ago,
 * it is.
 */
import type { Clock } from '../host/ports.js';

/** When something was asked. */
export interface Moment {
  bootMs: number;
  wallMs: number;
}
export const momentOf = (clock: Clock): Moment => ({
  bootMs: clock.bootMs(),
  wallMs: clock.wallMs(),
});

export class Lease {
  private askedAt: Moment | undefined;
  private ended = false;

  constructor(
    private readonly clock: Clock,
    private readonly leaseMs: number,
  ) {}

  /** An answer to what was asked at that moment has arrived. */
  prove(askedAt: Moment): void {
    if (!this.askedAt || askedAt.bootMs > this.askedAt.bootMs) this.askedAt = askedAt;
  }

  /** The lease has ended and does not begin again: a later answer proves nothing. */
  end(): void {
    this.ended = true;
  }

  /** Asked before each packet: the process may have slept since the last one. */
  get valid(): boolean {
    if (this.ended || !this.askedAt) return false;
    const wall = Math.abs(this.clock.wallMs() - this.askedAt.wallMs);
    return this.clock.bootMs() - this.askedAt.bootMs < this.leaseMs && wall < this.leaseMs;
  }
}
