/** Holds a sender to max-bandwidth, and measures what it really sends. */
import type { Clock } from '../host/ports.js';
import type { MigrationParameters } from './parameters.js';
import { PAGE_BYTES } from './pages.js';
import { sleep } from './wait.js';

/**
 * A chunk takes at most this long, so that a slow sender still shows progress and soon follows a
 * new limit.
 */
const CHUNK_MS = 100;
/** Shorter waits are saved up. */
const GRAIN_MS = 2;

export class Pace {
  private dueMs: number;
  private sinceMs: number;
  private bytes = 0;

  constructor(
    private readonly clock: Clock,
    private readonly parameters: Pick<MigrationParameters, 'maxBandwidth'>,
  ) {
    this.dueMs = this.sinceMs = clock.nowMs();
  }

  /** Pages of a chunk, at most `most`. */
  chunkPages(most: number): number {
    const { maxBandwidth } = this.parameters;
    return maxBandwidth === 0
      ? most
      : Math.max(1, Math.min(most, Math.floor((maxBandwidth * CHUNK_MS) / 1000 / PAGE_BYTES)));
  }

  /** Resolves when the next bytes may go. */
  async after(bytes: number): Promise<void> {
    this.bytes += bytes;
    const { maxBandwidth } = this.parameters;
    if (maxBandwidth === 0) return;
    const nowMs = this.clock.nowMs();
    this.dueMs = Math.max(this.dueMs, nowMs - GRAIN_MS) + (bytes * 1000) / maxBandwidth;
    if (this.dueMs - nowMs > GRAIN_MS) await sleep(this.clock, this.dueMs - nowMs);
  }

  /** A new measurement begins. */
  restart(): void {
    this.sinceMs = this.clock.nowMs();
    this.bytes = 0;
  }

  /** Bytes a millisecond since then; undefined: too little to say. */
  get rate(): number | undefined {
    const ms = this.clock.nowMs() - this.sinceMs;
    return this.bytes > 0 && ms > 0 ? this.bytes / ms : undefined;
  }
}
