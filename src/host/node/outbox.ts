/**
 * Small writes of one turn of the main loop leave as one: a system call and a wake-up of the peer
 * cost more than the bytes. Nothing waits longer than that turn, and order is kept.
 */
import type { Socket } from 'node:net';

/** Longer ones go at once, without a copy. */
const SMALL = 32 * 1024;
/** A peer that works meanwhile is worth more than one more write saved. */
const FULL = 32 * 1024;

interface Batch {
  readonly parts: Uint8Array[];
  bytes: number;
  readonly sent: Promise<void>;
  settle(error?: Error | null): void;
}

export class Outbox {
  private batch?: Batch;
  private dead?: Error;

  constructor(
    private readonly socket: Socket,
    /** What a write to this socket fails with. */
    private readonly failure: (error?: Error) => Error,
  ) {}

  /** Not yet handed to the socket. */
  get bytes(): number {
    return this.batch?.bytes ?? 0;
  }

  /** The peer reads no more, though the socket is there: every write fails from now on. */
  fail(error: Error): void {
    this.dead ??= error;
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.dead) return Promise.reject(this.dead);
    if (this.socket.destroyed) return Promise.reject(this.failure());
    if (bytes.length >= SMALL) {
      this.flush();
      return this.send(bytes);
    }
    const batch = (this.batch ??= this.open());
    batch.parts.push(bytes);
    batch.bytes += bytes.length;
    if (batch.bytes >= FULL) this.flush();
    return batch.sent;
  }

  flush(): void {
    const { batch } = this;
    if (!batch) return;
    this.batch = undefined;
    if (this.socket.destroyed) return batch.settle(this.failure());
    const [first] = batch.parts;
    this.socket.write(
      batch.parts.length === 1 ? first : Buffer.concat(batch.parts, batch.bytes),
      error => batch.settle(error ? this.failure(error) : this.dead),
    );
  }

  private open(): Batch {
    setImmediate(() => this.flush());
    let settle!: Batch['settle'];
    const sent = new Promise<void>(
      (resolve, reject) => (settle = error => (error ? reject(error) : resolve())),
    );
    // Every writer has the promise; one that looks away must not end the process.
    sent.catch(() => undefined);
    return { parts: [], bytes: 0, sent, settle };
  }

  private send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.write(bytes, error => {
        const failed = error ? this.failure(error) : this.dead;
        if (failed) reject(failed);
        else resolve();
      });
    });
  }
}
