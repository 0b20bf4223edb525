/**
 * Waits that must not be given up, because giving up would cost the only copy of the guest: they
 * have no limit, but what they wait for can be seen at any time, and people are told.
 */
import { type VmError, failureOf } from '../base/errors.js';
import type { Clock } from '../host/ports.js';
import { sleep } from '../migration/wait.js';
import { trace } from './trace.js';

export interface PatienceOptions {
  /** A wait is reported after this time. */
  tellWaitMs: number;
  /** Between two attempts. */
  retryMs: number;
}

interface Wait {
  readonly what: string;
  readonly sinceMs: number;
  /** Long enough, or unhappy enough, for others to hear of. */
  told: boolean;
  /** What the last attempt failed with. */
  failure?: string;
}

export class Patience {
  private readonly waits = new Set<Wait>();

  constructor(
    private readonly clock: Clock,
    private readonly options: PatienceOptions,
    private readonly report: (line: string) => void,
  ) {}

  /** In words; undefined: nothing that takes long. */
  get waitsFor(): string | undefined {
    const wait = [...this.waits].find(w => w.told);
    return wait && this.describe(wait);
  }

  until<T>(what: string, promise: Promise<T>): Promise<T> {
    return this.hold({ what, sinceMs: this.clock.nowMs(), told: false }, promise);
  }

  /** Once at least, then until it goes or is not wanted any more. True: it went. */
  async retry(
    what: string,
    attempt: () => Promise<void>,
    wanted: (failure: VmError) => boolean,
  ): Promise<boolean> {
    const wait: Wait = { what, sinceMs: this.clock.nowMs(), told: false };
    for (;;) {
      try {
        await this.hold(wait, attempt());
        return true;
      } catch (thrown) {
        const failure = failureOf(thrown);
        this.failed(wait, failure);
        await this.hold(wait, sleep(this.clock, this.options.retryMs));
        if (!wanted(failure)) return false;
      }
    }
  }

  private async hold<T>(wait: Wait, promise: Promise<T>): Promise<T> {
    this.waits.add(wait);
    const timer = this.clock.timer(this.options.tellWaitMs, () => this.tell(wait));
    try {
      return await promise;
    } finally {
      timer.dispose();
      this.waits.delete(wait);
    }
  }

  private failed(wait: Wait, { message }: VmError): void {
    trace.wait_failed?.({ what: wait.what, error: message });
    if (wait.failure === message) return;
    wait.failure = message;
    wait.told = false;
    this.tell(wait);
  }

  private tell(wait: Wait): void {
    if (!wait.told) this.report(`COLO waits for ${this.describe(wait)}`);
    wait.told = true;
  }

  private describe({ what, sinceMs, failure }: Wait): string {
    if (failure !== undefined) return `${what}: ${failure}; it is tried again`;
    return `${what}, for ${Math.floor((this.clock.nowMs() - sinceMs) / 1000)} s`;
  }
}
