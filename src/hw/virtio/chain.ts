/**
 * One request of the driver: a descriptor chain whose every byte is known to be RAM. Readable parts
 * come first (virtio 1.1, section 2.6.4.2).
 */
import type { GuestMemory } from '../../accel/contract.js';

/** Flat pairs address, length: no object per descriptor. */
export type Segments = number[];

export class Chain {
  readonly readable: Segments = [];
  readonly writable: Segments = [];
  /** Their number, as work is counted. */
  get descriptors(): number {
    return (this.readable.length + this.writable.length) / 2;
  }
  readLength = 0;
  writeLength = 0;

  constructor(readonly head: number) {}

  /** Copies readable bytes out; fewer than asked only at the end of the chain. */
  read(ram: GuestMemory, offset: number, length: number): Buffer {
    const out = Buffer.allocUnsafe(Math.max(0, Math.min(length, this.readLength - offset)));
    let done = 0;
    for (let i = 0, at = 0; i < this.readable.length && done < out.length; i += 2) {
      const size = this.readable[i + 1];
      const skip = Math.max(0, offset - at);
      if (skip < size) {
        const n = Math.min(size - skip, out.length - done);
        copyOut(ram, this.readable[i] + skip, out, done, n);
        done += n;
      }
      at += size;
    }
    return out;
  }

  /** Copies bytes to the writable part at offset. Returns how many fitted. */
  write(ram: GuestMemory, offset: number, bytes: Uint8Array): number {
    let done = 0;
    for (let i = 0, at = 0; i < this.writable.length && done < bytes.length; i += 2) {
      const size = this.writable[i + 1];
      const skip = Math.max(0, offset + done - at);
      if (skip < size) {
        const n = Math.min(size - skip, bytes.length - done);
        ram.write(
          this.writable[i] + skip,
          done === 0 && n === bytes.length ? bytes : bytes.subarray(done, done + n),
        );
        done += n;
      }
      at += size;
    }
    return done;
  }
}

function copyOut(ram: GuestMemory, gpa: number, out: Buffer, at: number, length: number): void {
  const view = ram.view(gpa, length) ?? ram.read(gpa, length);
  if (view) out.set(view, at);
  else out.fill(0, at, at + length);
}
