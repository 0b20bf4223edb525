/** The addon's `host` module: what Node lacks of the operating system, typed. */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { packageUrl } from '../../base/package.js';
import type { UserNetConfig } from '../ports.js';

export interface NativeTap {
  name(): string;
  /** False: the kernel's queue is full. */
  write(frame: Uint8Array): boolean;
  setReading(on: boolean): void;
  close(): void;
}

export interface NativeSlirp {
  /** False: no room. */
  send(frame: Uint8Array): boolean;
  /** Bytes of batch that are filled: frames, each behind its length (u32, little-endian). */
  receive(batch: Uint8Array): number;
  setReading(on: boolean): void;
  addForward(udp: boolean, host: string, hostPort: number, guest: string, guestPort: number): void;
  /** False: there is none. */
  removeForward(udp: boolean, host: string, hostPort: number): boolean;
  connections(): string;
  dropped(): number;
  close(): void;
}

export interface NativeHeartbeat {
  port(): number;
  aim(host: string, zone: number, port: number): void;
  turned(busyMs: number): void;
  setInterval(intervalMs: number): void;
  /** undefined: nothing was heard ever. */
  silentMs(): number | undefined;
  close(): void;
}

type LockKind = 'shared' | 'exclusive' | 'unlock';
type FallocateMode =
  'punch-hole' | 'zero-range' | 'zero-range-keep-size' | 'allocate' | 'allocate-keep-size';

export interface HostModule {
  Tap: new (
    ifname: string,
    onFrame: (frame: Buffer) => void,
    onError: (error: NodeJS.ErrnoException) => void,
  ) => NativeTap;
  /** undefined: built without libslirp's header; null: this host has no libslirp. */
  Slirp?: (new (config: UserNetConfig, onBell: () => void) => NativeSlirp) | null;
  /** At a numeric address; zone: its interface; key: 16 bytes; side: the other is the peer's. */
  Heartbeat: new (
    host: string,
    zone: number,
    port: number,
    key: Uint8Array,
    side: 1 | 2,
    intervalMs: number,
    loopLimitMs: number,
  ) => NativeHeartbeat;
  /** None of the locks waits; false: another process holds one that conflicts. */
  flock(fd: number, kind: LockKind): boolean;
  /** An open file description's lock on a range; length 0 = to the end. */
  ofdLock(fd: number, kind: LockKind, offset: number, length: number): boolean;
  /** Would an exclusive lock of the range be granted? Locks of this open file do not count. */
  ofdLockFree(fd: number, offset: number, length: number): boolean;
  /** Start and end of the next data at or after offset; undefined: a hole, to the end. */
  dataAt(fd: number, offset: number): [start: number, end: number] | undefined;
  /** Extended attribute of an open file; undefined: it has none of that name. */
  getXattr(fd: number, name: string): Promise<Buffer | undefined>;
  /** undefined takes it away. Not durable by itself. */
  setXattr(fd: number, name: string, bytes: Uint8Array | undefined): Promise<void>;
  fallocate(fd: number, mode: FallocateMode, offset: number, length: number): Promise<void>;
  /** The first frame, at most so many bytes of it; what follows the frame is ignored. */
  zstdDecompress(bytes: Uint8Array, most: number): Promise<Buffer>;
  /** One frame. */
  zstdCompress(bytes: Uint8Array): Promise<Buffer>;
  /**
   * What the page cache holds of it, which may be less than asked; -1 = it would have to wait for a
   * disk.
   */
  preadNow(fd: number, buffer: Uint8Array, offset: number): number;
  /**
   * A flag for each unit: 1 = written, 0 = all zeroes and left out. packed: those written follow
   * each other. errno's syscall says which side failed.
   */
  copyUnits(
    fromFd: number,
    from: number,
    toFd: number,
    to: number,
    length: number,
    unit: number,
    packed: boolean,
  ): Promise<Uint8Array>;
  /**
   * The first byte that differs, counted from the offsets, or -1. otherFd undefined: from zeroes.
   */
  differenceAt(
    fd: number,
    offset: number,
    otherFd: number | undefined,
    otherOffset: number,
    length: number,
  ): Promise<number>;
  /** To a Unix socket, without waiting; a name that begins with @ is an abstract one. */
  sendDatagram(name: string, text: string): void;
  /** CLOCK_BOOTTIME, milliseconds with fraction. */
  bootMs(): number;
  /** Since 1970, with microseconds. */
  wallMs(): number;
  /** How far its bytes lie past the start of a page of 4 KiB. */
  pageOffset(buffer: Uint8Array): number;
}

const nativeDir = fileURLToPath(packageUrl('native'));

let loaded: HostModule | undefined;

export function hostModule(): HostModule {
  const load = createRequire(import.meta.url)('node-gyp-build') as (dir: string) => {
    host: HostModule;
  };
  loaded ??= load(nativeDir).host;
  return loaded;
}
