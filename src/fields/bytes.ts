/**
 * Growing writer and bounds-checked reader under the field language. Short input is a VmError that
 * says what was wanted.
 */
import { VmError } from '../base/errors.js';

export class Writer {
  private buffer: Buffer;
  private used = 0;

  constructor(capacity = 256) {
    this.buffer = Buffer.allocUnsafe(capacity);
  }

  get length(): number {
    return this.used;
  }

  /** Room for n bytes; returns their offset in `target`. */
  reserve(n: number): number {
    const at = this.used;
    if (at + n > this.buffer.length) {
      const bigger = Buffer.allocUnsafe(Math.max(at + n, this.buffer.length * 2));
      this.buffer.copy(bigger, 0, 0, at);
      this.buffer = bigger;
    }
    this.used = at + n;
    return at;
  }

  /** Valid until the next reserve. */
  get target(): Buffer {
    return this.buffer;
  }

  bytes(data: Uint8Array): void {
    const at = this.reserve(data.length);
    this.buffer.set(data, at);
  }

  /** A view of what was written; the writer must not be used afterwards. */
  done(): Buffer {
    return this.buffer.subarray(0, this.used);
  }
}

export class Reader {
  private readonly buffer: Buffer;
  private at = 0;

  constructor(data: Uint8Array) {
    this.buffer = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }

  get remaining(): number {
    return this.buffer.length - this.at;
  }

  get source(): Buffer {
    return this.buffer;
  }

  /** Skips n bytes and returns their offset in `source`. */
  take(n: number): number {
    if (n > this.remaining)
      throw new VmError(
        `truncated: ${n} bytes wanted at offset ${this.at}, ${this.remaining} left`,
      );
    const at = this.at;
    this.at += n;
    return at;
  }

  bytes(n: number): Buffer {
    const at = this.take(n);
    return this.buffer.subarray(at, at + n);
  }

  end(): void {
    if (this.remaining > 0)
      throw new VmError(`${this.remaining} bytes too many at offset ${this.at}`);
  }
}
