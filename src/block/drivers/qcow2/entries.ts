/**
 * Entries of L1 and L2 tables as they stand on disk: 64 bits, big-endian, taken apart without
 * BigInt, for every request reads some.
 */

const COPIED = 0x8000_0000;
const COMPRESSED = 0x4000_0000;

/** COPIED: exactly one reference, so it may be overwritten in place. */
export interface Cluster {
  kind: 'unallocated' | 'zero' | 'data' | 'compressed';
  /** Of the cluster in the file; for kind zero of the one kept for it, or 0. */
  offset: number;
  copied: boolean;
  /** compressed: bytes that hold the stream, up to the end of a sector. */
  bytes: number;
}

/** An L1 entry. */
export function readPointer(table: Buffer, index: number): { offset: number; copied: boolean } {
  const high = table.readUInt32BE(index * 8);
  const low = table.readUInt32BE(index * 8 + 4);
  return { offset: (high & 0x00ff_ffff) * 2 ** 32 + (low - (low % 512)), copied: high >= COPIED };
}

export function writePointer(table: Buffer, index: number, offset: number, copied = true): void {
  table.writeUInt32BE(
    Math.floor(offset / 2 ** 32) + (copied && offset !== 0 ? COPIED : 0),
    index * 8,
  );
  table.writeUInt32BE(offset % 2 ** 32, index * 8 + 4);
}

/** In an L1 or an L2 table. */
export function setCopied(table: Buffer, index: number, copied: boolean): void {
  const high = table.readUInt32BE(index * 8) % COPIED;
  table.writeUInt32BE(high + (copied ? COPIED : 0), index * 8);
}

export function readCluster(
  table: Buffer,
  index: number,
  clusterBits: number,
  version: 2 | 3,
): Cluster {
  const high = table.readUInt32BE(index * 8);
  const low = table.readUInt32BE(index * 8 + 4);
  if (high & COMPRESSED) {
    // Bits 0..x-1: where; x..61: sectors after the first one.
    const x = 62 - (clusterBits - 8);
    const part = 2 ** (x - 32);
    const offset = ((high & 0x3fff_ffff) % part) * 2 ** 32 + low;
    const sectors = Math.floor((high & 0x3fff_ffff) / part) + 1;
    return { kind: 'compressed', offset, copied: false, bytes: sectors * 512 - (offset % 512) };
  }
  const offset = (high & 0x00ff_ffff) * 2 ** 32 + (low - (low % 512));
  const copied = high >= COPIED;
  if (version === 3 && low & 1) return { kind: 'zero', offset, copied, bytes: 0 };
  return { kind: offset === 0 ? 'unallocated' : 'data', offset, copied, bytes: 0 };
}

/** zero without an offset gives no cluster back; unallocated: 0. */
export function writeCluster(
  table: Buffer,
  index: number,
  kind: 'unallocated' | 'zero' | 'data',
  offset: number,
): void {
  writePointer(table, index, offset);
  if (kind === 'zero') table.writeUInt32BE((offset % 2 ** 32) + 1, index * 8 + 4);
}

export function writeCompressed(
  table: Buffer,
  index: number,
  clusterBits: number,
  offset: number,
  length: number,
): void {
  const part = 2 ** (62 - (clusterBits - 8) - 32);
  const more = Math.floor((offset + length - 1) / 512) - Math.floor(offset / 512);
  table.writeUInt32BE(COMPRESSED + more * part + Math.floor(offset / 2 ** 32), index * 8);
  table.writeUInt32BE(offset % 2 ** 32, index * 8 + 4);
}

/**
 * Refcounts of 1, 2, 4 ... 64 bits. Below 8 bits the first one stands in the lowest bits of its
 * byte.
 */
export function readRefcount(block: Buffer, index: number, bits: number): number {
  if (bits < 8)
    return (block[Math.floor((index * bits) / 8)] >> ((index * bits) % 8)) & ((1 << bits) - 1);
  if (bits === 64)
    return block.readUInt32BE(index * 8) * 2 ** 32 + block.readUInt32BE(index * 8 + 4);
  return block.readUIntBE((index * bits) / 8, bits / 8);
}

export function writeRefcount(block: Buffer, index: number, bits: number, value: number): void {
  if (bits < 8) {
    const at = Math.floor((index * bits) / 8);
    const shift = (index * bits) % 8;
    block[at] = (block[at] & ~(((1 << bits) - 1) << shift)) | (value << shift);
  } else if (bits === 64) {
    block.writeUInt32BE(Math.floor(value / 2 ** 32), index * 8);
    block.writeUInt32BE(value % 2 ** 32, index * 8 + 4);
  } else block.writeUIntBE(value, (index * bits) / 8, bits / 8);
}

export const maxRefcount = (bits: number): number =>
  bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
