/**
 * One question to several servers of one store: the first answer counts. One that is silent is not
 * waited for before the next is asked; all of it has one bound.
 */
import type { Disposable } from '../base/disposable.js';
import { asVmError, VmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';

/** This server is of no use now; another may be. Any other error is the answer. */
export class EndpointFailure extends VmError {}

const RETRY_MS = 200;
const PATIENCE_MS = 500;

export class AskAround<T> {
  private readonly timers: Disposable[] = [];
  private readonly failures = new Map<string, string>();
  private readonly endsMs: number;
  private asked = 0;
  private over = false;
  private resolve!: (value: T) => void;
  private reject!: (error: unknown) => void;

  /** ask: bounded by leftMs itself, and may be asked of several servers at once. */
  constructor(
    private readonly clock: Clock,
    private readonly endpoints: readonly string[],
    private readonly timeoutMs: number,
    private readonly ask: (endpoint: string, leftMs: number) => Promise<T>,
  ) {
    this.endsMs = clock.nowMs() + timeoutMs;
  }

  /** EndpointFailure: none has answered within the bound, and why. */
  answer(): Promise<T> {
    const answer = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.after(this.timeoutMs, () => this.reject(this.noAnswer()));
    this.next();
    return answer.finally(() => this.end());
  }

  private next(): void {
    if (this.over) return;
    const endpoint = this.endpoints[this.asked % this.endpoints.length];
    this.asked++;
    let open = true;
    const goOn = (ms: number) => {
      if (!open) return;
      open = false;
      this.after(ms, () => this.next());
    };
    const patienceMs = Math.min(PATIENCE_MS, this.timeoutMs / (this.endpoints.length + 1));
    this.after(patienceMs, () => goOn(0));
    const leftMs = Math.max(1, this.endsMs - this.clock.nowMs());
    this.ask(endpoint, leftMs).then(this.resolve, (error: unknown) => {
      if (!(error instanceof EndpointFailure)) return this.reject(error);
      this.failures.set(endpoint, asVmError(error).message);
      // All of them have been asked: they are given a moment.
      goOn(this.asked % this.endpoints.length === 0 ? RETRY_MS : 0);
    });
  }

  private after(ms: number, fn: () => void): void {
    if (!this.over) this.timers.push(this.clock.timer(ms, fn));
  }

  private end(): void {
    this.over = true;
    for (const timer of this.timers) timer.dispose();
  }

  private noAnswer(): EndpointFailure {
    const known = this.endpoints.map(
      endpoint => this.failures.get(endpoint) ?? `${endpoint}: no answer`,
    );
    return new EndpointFailure(
      `no answer within ${this.timeoutMs} ms (${known.join('; ').slice(0, 500)})`,
    );
  }
}
