/**
 * The last net below the main loop: an exception or a rejection that nobody took does not end the
 * process, and the guest with it. It is logged, once, and told to whoever has to act on it.
 */
import type { Disposable } from '../../base/disposable.js';
import { type VmError, internalError } from '../../base/errors.js';
import type { Clock } from '../../host/ports.js';

/** One stack in this time; of what follows only the number and the last message. */
const QUIET_MS = 10_000;

export interface GuardPorts {
  readonly clock: Clock;
  note(line: string): void;
  /** At each one; what it throws is dropped. */
  act(error: VmError): void;
}

export class Guard implements Disposable {
  private quiet: Disposable | undefined;
  private more = 0;
  private last = '';

  constructor(private readonly ports: GuardPorts) {}

  /** Of this process, until dispose. */
  watch(): this {
    process.on('uncaughtException', this.take);
    process.on('unhandledRejection', this.take);
    return this;
  }

  readonly take = (thrown: unknown): void => {
    const error = internalError(thrown);
    this.log(thrown, error.message);
    try {
      this.ports.act(error);
    } catch {
      // It is logged why; what could be done has been.
    }
  };

  private log(thrown: unknown, message: string): void {
    if (this.quiet) {
      this.more++;
      this.last = message;
      return;
    }
    const stack = thrown instanceof Error ? thrown.stack : undefined;
    this.ports.note(
      stack === undefined ? message : `internal error, this process goes on: ${stack}`,
    );
    this.quiet = this.ports.clock.timer(QUIET_MS, () => this.sum());
  }

  private sum(): void {
    this.quiet = undefined;
    if (this.more > 0) this.ports.note(`${this.more} more since then, the last: ${this.last}`);
    this.more = 0;
  }

  dispose(): void {
    process.off('uncaughtException', this.take);
    process.off('unhandledRejection', this.take);
    this.quiet?.dispose();
    this.sum();
  }
}
