/**
 * Frames on a byte stream, as QEMU's filters and socket netdevs send them: a big-endian length of
 * 32 bits, then the frame. Sans-I/O.
 */
import { VmError } from '../../base/errors.js';
import { FRAME_BYTES_MAX } from './ethernet.js';

const LENGTH_BYTES = 4;
/** QEMU takes this much: 64 KiB and a page. */
const LONGEST_BYTES = 65_536 + 4096;

export function onStream(frame: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(LENGTH_BYTES + frame.length);
  out.writeUInt32BE(frame.length, 0);
  out.set(frame, LENGTH_BYTES);
  return out;
}

/**
 * Takes a stream apart again. What the peer says is not believed: a frame that cannot be one ends
 * the stream.
 */
export class FrameReader {
  private kept: Buffer = Buffer.alloc(0);

  get pending(): number {
    return this.kept.length;
  }

  push(bytes: Uint8Array): void {
    this.kept = this.kept.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.kept, bytes]);
  }

  /**
   * The next whole frame; undefined: more bytes are needed. VmError: the stream makes no sense any
   * more.
   */
  next(): Buffer | undefined {
    if (this.kept.length < LENGTH_BYTES) return undefined;
    const length = this.kept.readUInt32BE(0);
    if (length > LONGEST_BYTES)
      throw new VmError(
        `a frame of ${length} bytes was announced; the longest has ${LONGEST_BYTES}`,
      );
    if (this.kept.length < LENGTH_BYTES + length) return undefined;
    const frame = this.kept.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
    this.kept = this.kept.subarray(LENGTH_BYTES + length);
    return frame;
  }

  /** The peer is another one: it begins anew. */
  reset(): void {
    this.kept = Buffer.alloc(0);
  }
}

const ETHERNET_HEADER_BYTES = 14;

/** Neither a fragment of nothing nor more than a tap takes. */
export const isFrame = (frame: Uint8Array) =>
  frame.length >= ETHERNET_HEADER_BYTES && frame.length <= FRAME_BYTES_MAX;
