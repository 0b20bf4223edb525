/** Reads the guest's numbered records from an image file (layout: test/guest/init.c). */
import { closeSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';

const RECORD = 512;
const MAGIC = 0x434f4c4f;

/**
 * How many of the records 1..upTo are in the image with a good checksum; the first that is not.
 * start: of the guest's disk or partition in the image.
 */
export function proveRecords(
  image: string,
  upTo: number,
  start = 0,
): { proven: number; firstBad?: number } {
  const fd = openSync(image, 'r');
  const chunk = Buffer.alloc(RECORD * 2048);
  let proven = 0;
  let firstBad: number | undefined;
  try {
    for (let first = 1; first <= upTo; first += 2048) {
      const got = readSync(fd, chunk, 0, chunk.length, start + (first - 1) * RECORD);
      for (let n = first; n <= Math.min(upTo, first + 2047); n++) {
        const at = (n - first) * RECORD;
        if (at + RECORD <= got && good(chunk.subarray(at, at + RECORD), n)) proven++;
        else firstBad ??= n;
      }
    }
  } finally {
    closeSync(fd);
  }
  return { proven, firstBad };
}

function good(record: Buffer, number: number): boolean {
  return (
    record.readUInt32LE(0) === MAGIC &&
    record.readUInt32LE(4) === crc32(record.subarray(8)) &&
    record.readBigUInt64LE(8) === BigInt(number)
  );
}
