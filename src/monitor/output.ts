/**
 * What a monitor has to say to one client, queued and bounded. A client that does not read loses
 * its connection, with the reason in the log; the VM never waits for it.
 */
import type { CharBackend } from '../chardev/contract.js';

export const MAX_QUEUED_BYTES = 1 << 20;

export class Output {
  private queue: Buffer[] = [];
  private queued = 0;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly chr: CharBackend,
    private readonly onOverflow: (queuedBytes: number) => void,
  ) {
    chr.onRoom(() => this.flush());
  }

  write(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.queue.push(bytes);
    this.queued += bytes.length;
    this.flush();
    if (this.queued <= MAX_QUEUED_BYTES) return;
    const lost = this.queued;
    this.clear();
    this.onOverflow(lost);
  }

  get empty(): boolean {
    return this.queue.length === 0;
  }

  /** Resolves when the channel has taken everything, or the rest was dropped. */
  drained(): Promise<void> {
    if (this.empty) return Promise.resolve();
    return new Promise(resolve => this.waiting.push(resolve));
  }

  /** The client is gone. */
  clear(): void {
    this.queue = [];
    this.queued = 0;
    this.wake();
  }

  private flush(): void {
    let taken = 0;
    while (taken < this.queue.length && this.chr.write(this.queue[taken]))
      this.queued -= this.queue[taken++].length;
    this.queue.splice(0, taken);
    if (this.empty) this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
