/** What a format or protocol does for its node. A driver sees only requests that its node has checked: in range, writable, not too long. */
export interface BlockDriver {
  /** QEMU's driver name. */
  readonly format: string;
  /** Bytes, a multiple of 512. */
  readonly length: number;
  readonly readOnly: boolean;
  /** Longest request that it takes; the node splits longer ones. */
  readonly maxTransfer?: number;
  pread(offset: number, length: number): Promise<Buffer>;
  /** The data belongs to the driver until the promise settles. fua: durable when it settles. */
  pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void>;
  flush(): Promise<void>;
  /** The content is no longer wanted; what a read gives afterwards is the driver's choice. */
  discard(offset: number, length: number): Promise<void>;
  writeZeroes(offset: number, length: number): Promise<void>;
  close(): Promise<void>;
  /** For query-block and info block: one-word facts. */
  describe(): Record<string, string | number | boolean>;
}

export const SECTOR = 512;
/** Granularity of dirty bitmaps, QEMU's cluster. */
export const CLUSTER = 64 * 1024;

const zeroes = Buffer.alloc(CLUSTER);

export function isZero(data: Uint8Array): boolean {
  for (let at = 0; at < data.length; at += CLUSTER) {
    const part = data.subarray(at, at + CLUSTER);
    if (zeroes.compare(part, 0, part.length, 0, part.length) !== 0) return false;
  }
  return true;
}
