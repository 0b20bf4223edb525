/** Bytes of a stream by the number, for a protocol that is read in a straight line. */
import { VmError } from '../base/errors.js';
import type { Stream } from '../host/ports.js';

/** More than this is not taken from the network before it is wanted. */
const HELD_MAX = 64 * 1024;

export class IncomingBytes {
  private held: Buffer = Buffer.alloc(0);
  private ended: Error | undefined;
  private wake: (() => void) | undefined;
  private paused = false;

  constructor(private readonly stream: Stream) {
    stream.onData(bytes => this.arrived(bytes));
    stream.onEnd(error => {
      this.ended = error ?? new VmError('the connection was closed');
      this.wake?.();
    });
  }

  /** Without taking them. Rejects when the stream ends before they are there. */
  async peek(count: number): Promise<Buffer> {
    while (this.held.length < count) {
      if (this.ended) throw this.ended;
      if (this.paused) {
        this.paused = false;
        this.stream.resume();
      }
      await new Promise<void>(resolve => (this.wake = resolve));
    }
    return this.held;
  }

  async take(count: number): Promise<Buffer> {
    const bytes = (await this.peek(count)).subarray(0, count);
    this.held = this.held.subarray(count);
    return bytes;
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      const part = Math.min(left, Math.max(this.held.length, 1));
      await this.take(part);
      left -= part;
    }
  }

  private arrived(bytes: Uint8Array): void {
    this.held = this.held.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.held, bytes]);
    if (this.held.length > HELD_MAX && !this.paused) {
      this.paused = true;
      this.stream.pause();
    }
    this.wake?.();
  }
}
