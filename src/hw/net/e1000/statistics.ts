/**
 * The counters of an 82540EM (Software Developer's Manual, section 13.7): they end at their
 * greatest value, and a read clears them.
 */
const MAX = 0xffff_ffff;
export const COUNTERS = 64;

/** By their registers from 0x4000, in words. */
const Counter = {
  RX_LONG: 0xac / 4,
  RX_GOOD: 0x74 / 4,
  RX_BROADCAST: 0x78 / 4,
  RX_MULTICAST: 0x7c / 4,
  TX_GOOD: 0x80 / 4,
  RX_GOOD_BYTES: 0x88 / 4,
  TX_GOOD_BYTES: 0x90 / 4,
  RX_BYTES: 0xc0 / 4,
  TX_BYTES: 0xc8 / 4,
  RX_ALL: 0xd0 / 4,
  TX_ALL: 0xd4 / 4,
  TX_MULTICAST: 0xf0 / 4,
  TX_BROADCAST: 0xf4 / 4,
} as const;
/** Those of 64 bits: the low word, which is cleared with the high one. */
const WIDE: readonly number[] = [
  Counter.RX_GOOD_BYTES,
  Counter.TX_GOOD_BYTES,
  Counter.RX_BYTES,
  Counter.TX_BYTES,
];
/** Frames of 64, 65 to 127, ... bytes, as they are on the wire. */
const RX_SIZES = 0x5c / 4;
const TX_SIZES = 0xd8 / 4;
/** The counters of one direction. */
interface Frames {
  readonly frames: readonly number[];
  readonly bytes: readonly number[];
  /** The first of those by size. */
  readonly sizes: number;
  readonly broadcast: number;
  readonly multicast: number;
}
const received: Frames = {
  frames: [Counter.RX_GOOD, Counter.RX_ALL],
  bytes: [Counter.RX_GOOD_BYTES, Counter.RX_BYTES],
  sizes: RX_SIZES,
  broadcast: Counter.RX_BROADCAST,
  multicast: Counter.RX_MULTICAST,
};
const sent: Frames = {
  frames: [Counter.TX_GOOD, Counter.TX_ALL],
  bytes: [Counter.TX_GOOD_BYTES, Counter.TX_BYTES],
  sizes: TX_SIZES,
  broadcast: Counter.TX_BROADCAST,
  multicast: Counter.TX_MULTICAST,
};
const SIZE_LIMITS = [64, 127, 255, 511, 1023, Infinity] as const;
const FCS = 4;
const MULTICAST = 0x01;

const isBroadcast = (frame: Uint8Array) => frame.subarray(0, 6).every(byte => byte === 0xff);

export function readCounter(counters: number[], n: number): number {
  const value = counters[n];
  if (WIDE.includes(n)) return value;
  counters[n] = 0;
  if (WIDE.includes(n - 1)) counters[n - 1] = 0;
  return value;
}

/** frame: without its checksum. */
export const countReceived = (counters: number[], frame: Uint8Array): void =>
  count(counters, received, frame);
export const countSent = (counters: number[], frame: Uint8Array): void =>
  count(counters, sent, frame);
export const countLong = (counters: number[]): void => add(counters, Counter.RX_LONG, 1);

function count(counters: number[], to: Frames, frame: Uint8Array): void {
  const length = frame.length + FCS;
  for (const n of [...to.frames, to.sizes + sizeClass(length)]) add(counters, n, 1);
  for (const n of to.bytes) addWide(counters, n, length);
  if (isBroadcast(frame)) add(counters, to.broadcast, 1);
  else if ((frame[0] & MULTICAST) !== 0) add(counters, to.multicast, 1);
}

const sizeClass = (length: number) => SIZE_LIMITS.findIndex(limit => length <= limit);

function add(counters: number[], n: number, by: number): void {
  counters[n] = Math.min(counters[n] + by, MAX);
}

function addWide(counters: number[], n: number, by: number): void {
  const low = counters[n] + by;
  counters[n] = low >>> 0;
  if (low > MAX) add(counters, n + 1, 1);
}
