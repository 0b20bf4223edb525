/**
 * Locks on image files, on the bytes that QEMU's file driver uses, so that colo, QEMU and qemu-img
 * keep out of each other's way.
 *
 * A read lock on byte 100+n says "I use permission n of this image", one on byte 200+n "I do not
 * share permission n". An opener takes its locks first and then looks for the
 * opposite bytes: of two that open at the same moment at least one sees the other.
 */
import type { HostModule } from './addon.js';

const Permission = { CONSISTENT_READ: 0, WRITE: 1, RESIZE: 3 } as const;
const USES = 100;
const DENIES = 200;

const denied = [Permission.WRITE, Permission.RESIZE];

export function lockForWriting(host: HostModule, fd: number): boolean {
  return lock(host, fd, [Permission.CONSISTENT_READ, Permission.WRITE, Permission.RESIZE]);
}

export function lockForReading(host: HostModule, fd: number): boolean {
  return lock(host, fd, [Permission.CONSISTENT_READ]);
}

/** No other process may write, whether this one does or not. */
function lock(host: HostModule, fd: number, used: readonly number[]): boolean {
  const ours = [...used.map(n => USES + n), ...denied.map(n => DENIES + n)];
  const theirs = [...used.map(n => DENIES + n), ...denied.map(n => USES + n)];
  if (
    ours.every(byte => host.ofdLock(fd, 'shared', byte, 1)) &&
    theirs.every(byte => host.ofdLockFree(fd, byte, 1))
  )
    return true;
  unlock(host, fd);
  return false;
}

export function unlock(host: HostModule, fd: number): void {
  host.ofdLock(fd, 'unlock', USES, 2 * (DENIES - USES));
}
