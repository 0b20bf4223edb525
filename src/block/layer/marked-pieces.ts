/**
 * Are two images equal where either side's bitmap has a mark? The primary sends its marks; the
 * secondary answers with its own, and with a checksum of each piece that one of both has marked.
 * Nothing else is read, on either side. Comparing costs two reads and 16 bytes on the wire for a
 * piece; copying costs a read, the wire and a write, and a region holds more than what was written.
 */
import { createHash } from 'node:crypto';
import { VmError } from '../../base/errors.js';
import { record, u32, u53 } from '../../fields/field.js';
import { type ByteProgress, isZero } from '../contract/driver.js';
import { pieceBytesOf, type Range, Regions } from '../record/regions.js';

const HASH_BYTES = 16;
const MAGIC = 0x434f_4d50;

const header = record({
  magic: u32.is(MAGIC),
  pieceBytes: u32,
  length: u53,
  bitsBytes: u32,
});

interface Source {
  readonly length: number;
  pread(offset: number, length: number): Promise<Buffer>;
}

/** asked: the primary's marks, untrusted. marked: ours; undefined: we have none to go by. */
export async function answerMarked(
  disk: Source,
  asked: Uint8Array,
  marked: Regions,
  progress?: ByteProgress,
): Promise<Buffer> {
  const bits = marked.encode();
  const union = Regions.decode(disk.length, asked);
  union.add(marked);
  const { length } = disk;
  const first = { magic: MAGIC, pieceBytes: pieceBytesOf(length), length, bitsBytes: bits.length };
  return Buffer.concat([header.encode(first), bits, await hashesOf(disk, union, progress)]);
}

/** Longest answer for a disk of this length. */
export function answerBytesMax(length: number): number {
  const pieces = Math.ceil(length / pieceBytesOf(length));
  return header.size! + new Regions(length).encode().length + pieces * HASH_BYTES;
}

export interface MarkedPieces {
  /** What one side or the other has marked. */
  readonly union: Regions;
  readonly different: Range[];
}

/** asked: as it was sent. answer: untrusted. */
export async function compareMarked(
  disk: Source,
  asked: Regions,
  answer: Buffer,
  progress?: ByteProgress,
): Promise<MarkedPieces> {
  const { marked, hashes } = decodeAnswer(answer, disk.length);
  const union = Regions.decode(disk.length, asked.encode());
  union.add(marked);
  const ours = await hashesOf(disk, union, progress);
  if (ours.length !== hashes.length)
    throw new VmError(`${hashes.length} bytes of checksums where ${ours.length} belong`);
  const pieces = [...piecesOf(union)];
  const differs = (n: number) =>
    ours.compare(
      hashes,
      n * HASH_BYTES,
      (n + 1) * HASH_BYTES,
      n * HASH_BYTES,
      (n + 1) * HASH_BYTES,
    );
  return { union, different: pieces.filter((_, n) => differs(n) !== 0) };
}

function decodeAnswer(answer: Buffer, length: number): { marked: Regions; hashes: Buffer } {
  try {
    const size = header.size!;
    const found = header.decode(answer.subarray(0, size));
    if (found.length !== length || found.pieceBytes !== pieceBytesOf(length))
      throw new VmError(`it is of a disk of ${found.length} bytes in other pieces`);
    const end = size + found.bitsBytes;
    const marked = Regions.decode(length, answer.subarray(size, end));
    return { marked, hashes: answer.subarray(end) };
  } catch (error) {
    throw error instanceof VmError ? error.during("the secondary's bitmap") : error;
  }
}

function* piecesOf(regions: Regions): Generator<Range> {
  const most = pieceBytesOf(regions.length);
  for (const { offset, length } of regions.runs())
    for (let at = 0; at < length; at += most)
      yield { offset: offset + at, length: Math.min(most, length - at) };
}

async function hashesOf(
  disk: Source,
  regions: Regions,
  progress: ByteProgress = () => undefined,
): Promise<Buffer> {
  const hashes: Buffer[] = [];
  const total = regions.bytes;
  let done = 0;
  for (const { offset, length } of piecesOf(regions)) {
    const data = await disk.pread(offset, length);
    // Zeroes are zeroes: as in a digest of the whole.
    hashes.push(
      isZero(data)
        ? Buffer.alloc(HASH_BYTES)
        : createHash('sha256').update(data).digest().subarray(0, HASH_BYTES),
    );
    progress((done += length), total);
  }
  return Buffer.concat(hashes);
}
