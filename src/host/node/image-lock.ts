/**
 * Locks on image files, on the bytes that QEMU's file driver uses, so that colo, QEMU and qemu-img keep out of each other's way.
 *
 * Byte 100+n says "I use permission n of this image", byte 200+n "I do not share permission n" (0 = consistent read, 1 = write, 2 =
 * write unchanged, 3 = resize). QEMU takes read locks only and looks whether others hold the opposite byte. A writer of ours locks both
 * ranges exclusively, which conflicts with every user. A reader takes read locks as QEMU's readers do, after a look at the write bytes:
 * an exclusive lock on them for an instant, for Node has no way to ask.
 */
import type { HostModule } from './addon.js';

const USES = { offset: 100, length: 100 };
const DENIES = { offset: 200, length: 100 };
const WRITE = { offset: 101, length: 3 };

export function lockForWriting(host: HostModule, fd: number): boolean {
  return host.ofdLock(fd, 'exclusive', USES.offset, USES.length + DENIES.length);
}

export function lockForReading(host: HostModule, fd: number): boolean {
  if (!host.ofdLock(fd, 'exclusive', WRITE.offset, WRITE.length)) return false;
  host.ofdLock(fd, 'unlock', WRITE.offset, WRITE.length);
  return host.ofdLock(fd, 'shared', USES.offset, 1) && host.ofdLock(fd, 'shared', DENIES.offset + 1, 3);
}
