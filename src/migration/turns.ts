/**
 * Long work over RAM, in slices: between two of them the main loop answers heartbeats, timers and
 * monitors.
 */
import type { Clock } from '../host/ports.js';
import { sleep } from './wait.js';

export class Turns {
  private bytes = 0;

  constructor(
    private readonly clock: Clock,
    /** RAM that is gone through in one turn of the main loop. */
    private readonly eachBytes: number,
  ) {}

  /** After a piece of work: resolves at once, or in a later turn when this one had its share. */
  async spend(bytes: number): Promise<void> {
    this.bytes += bytes;
    if (this.bytes < this.eachBytes) return;
    this.bytes = 0;
    await sleep(this.clock, 0);
  }
}
