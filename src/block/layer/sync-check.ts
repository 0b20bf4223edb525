/**
 * Are two images equal? Each side digests its own in pieces of 1 MiB; the digests travel, not the
 * data. A piece of zeroes is not hashed, and one that the image does not hold is not even read.
 * What differs is copied, so that no user has to start over for a boot log that was written before
 * the replica was attached.
 */
import { createHash } from 'node:crypto';
import { VmError } from '../../base/errors.js';
import { record, u32, u53 } from '../../fields/field.js';
import { type BlockStatus, type ByteProgress, isZero } from '../contract/driver.js';

const PIECE = 1024 * 1024;
const HASH_BYTES = 16;

const header = record({
  magic: u32.is(0x434f_4453),
  pieceBytes: u32.is(PIECE),
  length: u53,
  hashBytes: u32.is(HASH_BYTES),
});

export interface DigestSource {
  readonly length: number;
  pread(offset: number, length: number, into?: Buffer): Promise<Buffer>;
  blockStatus(offset: number, length: number): Promise<BlockStatus>;
}

const pieces = (length: number) => Math.ceil(length / PIECE);

/**
 * SHA-256 of every piece, cut to 16 bytes: an accident, not an adversary, is what must not collide.
 */
export async function digest(source: DigestSource, progress?: ByteProgress): Promise<Buffer> {
  const hashes = Buffer.alloc(pieces(source.length) * HASH_BYTES);
  const buffer = Buffer.allocUnsafe(PIECE);
  let run = { until: 0, zero: false };
  for (let n = 0; n * PIECE < source.length; n++) {
    const from = n * PIECE;
    const length = Math.min(PIECE, source.length - from);
    if (run.until < from + length) run = await runAt(source, from);
    if (!run.zero || run.until < from + length) {
      const data = await source.pread(from, length, buffer);
      if (!isZero(data))
        createHash('sha256')
          .update(data)
          .digest()
          .copy(hashes, n * HASH_BYTES, 0, HASH_BYTES);
    }
    progress?.(from + length, source.length);
  }
  return Buffer.concat([
    header.encode({
      magic: 0x434f_4453,
      pieceBytes: PIECE,
      length: source.length,
      hashBytes: HASH_BYTES,
    }),
    hashes,
  ]);
}

/** Asked once for each run: on some file systems its end costs by its length. */
async function runAt(
  source: DigestSource,
  offset: number,
): Promise<{ until: number; zero: boolean }> {
  const { zero, length } = await source.blockStatus(offset, source.length - offset);
  return { until: offset + length, zero };
}

/** Ranges that differ. The peer's digest is untrusted: a wrong length or shape is a VmError. */
export function differences(
  own: Uint8Array,
  peer: Uint8Array,
): { offset: number; length: number }[] {
  const ours = decode(own);
  const theirs = decode(peer);
  if (ours.length !== theirs.length)
    throw new VmError(
      `the images have different lengths: ${ours.length} bytes here, ${theirs.length} at the peer`,
    );
  const out: { offset: number; length: number }[] = [];
  for (let n = 0; n < pieces(ours.length); n++) {
    const at = n * HASH_BYTES;
    if (ours.hashes.compare(theirs.hashes, at, at + HASH_BYTES, at, at + HASH_BYTES) === 0)
      continue;
    out.push({ offset: n * PIECE, length: Math.min(PIECE, ours.length - n * PIECE) });
  }
  return out;
}

/** Every piece of the image is zeroes. */
export function isBlank(peer: Uint8Array): boolean {
  return isZero(decode(peer).hashes);
}

function decode(data: Uint8Array): { length: number; hashes: Buffer } {
  try {
    const size = header.size!;
    if (data.length < size) throw new VmError(`${data.length} bytes are no digest`);
    const { length } = header.decode(data.subarray(0, size));
    const hashes = Buffer.from(data.buffer, data.byteOffset + size, data.length - size);
    if (hashes.length !== pieces(length) * HASH_BYTES)
      throw new VmError(`${hashes.length} bytes of checksums for ${length} bytes of image`);
    return { length, hashes };
  } catch (error) {
    throw error instanceof VmError ? error.during('disk digest') : error;
  }
}
