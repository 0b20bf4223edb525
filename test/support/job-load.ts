/** Writes whose every state is known from how many were done. */
import { pattern } from './block-host.js';

export const GUEST_BYTES = 8 * 1024 * 1024;
/** What was written since may be lost with the process, as with a disk's cache. */
export const FLUSH_EVERY = 8;
/** Not of a cluster's size, and not at its ends. */
const PIECE = 12 * 1024;

export function guestWrite(n: number): { offset: number; data: Buffer } {
  return { offset: ((n * 7919) % (GUEST_BYTES / 4096 - 3)) * 4096, data: pattern(PIECE, n % 251) };
}

/** before: what the disk held. */
export function guestDisk(before: Uint8Array, writes: number): Buffer {
  const disk = Buffer.from(before);
  for (let n = 0; n < writes; n++) {
    const { offset, data } = guestWrite(n);
    disk.set(data, offset);
  }
  return disk;
}
