/**
 * A load whose every state is known from how many writes each of its lanes has done. Lanes never
 * write to the same block.
 */
export const BLOCK = 4096;
export const LANES = 8;
export const DISK_BYTES = 4 * 1024 * 1024;
const blocksOfLane = DISK_BYTES / BLOCK / LANES;

export function writeOf(lane: number, n: number): { offset: number; data: Buffer } {
  const block = (((n + 1) * 2_654_435_761 + lane * 40_503) >>> 7) % blocksOfLane;
  const data = Buffer.alloc(BLOCK, (lane * 31 + n) & 0xff);
  data.writeUInt32BE(lane, 0);
  data.writeUInt32BE(n, 4);
  return { offset: (block * LANES + lane) * BLOCK, data };
}

export function imageAfter(counts: readonly number[]): Buffer {
  const image = Buffer.alloc(DISK_BYTES);
  counts.forEach((count, lane) => {
    for (let n = 0; n < count; n++) {
      const { offset, data } = writeOf(lane, n);
      image.set(data, offset);
    }
  });
  return image;
}
