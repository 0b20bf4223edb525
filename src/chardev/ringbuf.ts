/**
 * The last bytes of output, kept in memory for a monitor to read: ringbuf-read takes them out,
 * ringbuf-write adds to them.
 */
import { LocalChar } from './local.js';

export class RingbufChar extends LocalChar {
  readonly label = 'ringbuf';
  private readonly ring: Buffer;
  /** Bytes ever written and ever taken; the ring holds those between. */
  private produced = 0;
  private consumed = 0;

  constructor(id: string, sizeBytes: number) {
    super(id);
    this.ring = Buffer.alloc(sizeBytes);
  }

  /** What does not fit any more pushes out the oldest. */
  write(bytes: Uint8Array): boolean {
    const size = this.ring.length;
    for (let done = Math.max(0, bytes.length - size); done < bytes.length;) {
      const at = (this.produced + done) % size;
      const part = bytes.subarray(done, done + size - at);
      this.ring.set(part, at);
      done += part.length;
    }
    this.produced += bytes.length;
    this.consumed = Math.max(this.consumed, this.produced - size);
    return true;
  }

  /** At most n of the oldest; they are gone then. */
  read(n: number): Buffer {
    const length = Math.min(n, this.produced - this.consumed);
    const at = this.consumed % this.ring.length;
    const first = this.ring.subarray(at, at + length);
    this.consumed += length;
    return Buffer.concat([first, this.ring.subarray(0, length - first.length)]);
  }
}
