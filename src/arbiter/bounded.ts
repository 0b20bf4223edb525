/**
 * One operation at a time, each with a bound; others wait for their turn. A store that hangs (a
 * network file system without its server) keeps what hangs in it; the next operation is refused at
 * once instead of hanging too.
 */
import type { Clock } from '../host/ports.js';
import { ArbiterAway } from './contract.js';

export class Bounded {
  /** One has no answer after its bound. */
  private hanging = false;
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly clock: Clock,
    private readonly name: string,
    private readonly timeoutMs: number,
  ) {}

  run<T>(what: string, operation: () => Promise<T>): Promise<T> {
    const turn = this.last.then(() => this.now(what, operation));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async now<T>(what: string, operation: () => Promise<T>): Promise<T> {
    if (this.hanging) throw this.away(`${what}: the question before has no answer yet`);
    const work = operation();
    return new Promise<T>((resolve, reject) => {
      const timer = this.clock.timer(this.timeoutMs, () => {
        this.hanging = true;
        // What it becomes after the bound is of no use to the caller any more.
        work.catch(() => undefined).finally(() => (this.hanging = false));
        reject(this.away(`${what}: no answer within ${this.timeoutMs} ms`));
      });
      work.then(resolve, reject).finally(() => timer.dispose());
    });
  }

  private away(text: string): ArbiterAway {
    return new ArbiterAway(`the arbiter '${this.name}' is away: ${text}`);
  }
}
