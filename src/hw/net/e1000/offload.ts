/**
 * What an 82540EM does to a frame on its way out (Software Developer's Manual, section 3.3.5 to
 * 3.6): checksums, as a context says where, and the cutting of a large TCP or UDP packet into
 * frames. Offsets are the guest's: one that lies outside of the frame changes nothing.
 */
import { lowBytes } from '../../../base/unsigned.js';
import { type Of, record, u16, u8 } from '../../../fields/field.js';

export const contextField = record({
  ipStart: u8,
  ipAt: u8,
  ipEnd: u16,
  tcpStart: u8,
  tcpAt: u8,
  tcpEnd: u16,
  /** Of packets that are cut: how long headers and a piece of what follows them are. */
  headerBytes: u8,
  pieceBytes: u16,
  flags: u8.mask(0x03),
});
export type OffloadContext = Of<typeof contextField>;
const ContextFlag = { TCP: 0x01, IPV4: 0x02 } as const;
/** POPTS of a data descriptor. */
export const PacketOption = { IP: 0x01, TCP: 0x02 } as const;
const FIN_AND_PUSH = 0x09;
const IPV6_HEADER = 40;

/** A context descriptor, by its four words. */
export function contextOf(words: readonly number[]): OffloadContext {
  const [ip, tcp, control, sizes] = words;
  return {
    ipStart: ip & 0xff,
    ipAt: (ip >>> 8) & 0xff,
    ipEnd: ip >>> 16,
    tcpStart: tcp & 0xff,
    tcpAt: (tcp >>> 8) & 0xff,
    tcpEnd: tcp >>> 16,
    flags: (control >>> 24) & 0x03,
    headerBytes: (sizes >>> 8) & 0xff,
    pieceBytes: sizes >>> 16,
  };
}

/** Of bytes from start to end, which is the last one, or 0 for the end of the frame. Written at. */
export function insertChecksum(frame: Buffer, start: number, at: number, end: number): void {
  const limit = end === 0 ? frame.length : Math.min(end + 1, frame.length);
  if (start >= limit || at + 2 > frame.length) return;
  let sum = 0;
  for (let n = start; n + 1 < limit; n += 2) sum += frame.readUInt16BE(n);
  if ((limit - start) % 2 === 1) sum += frame[limit - 1] << 8;
  frame.writeUInt16BE(lowBytes(~folded(sum), 2), at);
}

function folded(sum: number): number {
  let value = sum;
  while (value > 0xffff) value = (value & 0xffff) + Math.floor(value / 0x10000);
  return value;
}

/** Those that the packet's options ask for. */
export function insertChecksums(frame: Buffer, c: OffloadContext, options: number): void {
  if ((options & PacketOption.TCP) !== 0) insertChecksum(frame, c.tcpStart, c.tcpAt, c.tcpEnd);
  if ((options & PacketOption.IP) !== 0) insertChecksum(frame, c.ipStart, c.ipAt, c.ipEnd);
}

/** Into how many frames a packet of so many bytes is cut; 0: it cannot be. */
export function pieceCount(length: number, { headerBytes, pieceBytes }: OffloadContext): number {
  if (pieceBytes === 0 || headerBytes === 0 || headerBytes >= length) return 0;
  return Math.ceil((length - headerBytes) / pieceBytes);
}

/** Frame n of pieceCount(), with its checksums. */
export function pieceOf(packet: Buffer, c: OffloadContext, options: number, n: number): Buffer {
  const header = packet.subarray(0, c.headerBytes);
  const from = c.headerBytes + n * c.pieceBytes;
  const frame = Buffer.concat([header, packet.subarray(from, from + c.pieceBytes)]);
  const last = from + c.pieceBytes >= packet.length;
  if ((c.flags & ContextFlag.IPV4) !== 0) {
    put16(frame, c.ipStart + 2, frame.length - c.ipStart);
    put16(frame, c.ipStart + 4, get16(frame, c.ipStart + 4) + n);
  } else {
    put16(frame, c.ipStart + 4, frame.length - c.ipStart - IPV6_HEADER);
  }
  const length = frame.length - c.tcpStart;
  if ((c.flags & ContextFlag.TCP) !== 0) {
    advance(frame, c.tcpStart + 4, n * c.pieceBytes);
    if (!last && c.tcpStart + 13 < frame.length) frame[c.tcpStart + 13] &= ~FIN_AND_PUSH;
  } else {
    put16(frame, c.tcpStart + 4, length);
  }
  // The driver has left the length out of the pseudo header's sum, which stands there.
  if ((options & PacketOption.TCP) !== 0)
    put16(frame, c.tcpAt, folded(get16(frame, c.tcpAt) + Math.max(length, 0)));
  insertChecksums(frame, c, options);
  return frame;
}

const get16 = (frame: Buffer, at: number) => (at + 2 <= frame.length ? frame.readUInt16BE(at) : 0);

function put16(frame: Buffer, at: number, value: number): void {
  if (at + 2 <= frame.length) frame.writeUInt16BE(lowBytes(value, 2), at);
}

function advance(frame: Buffer, at: number, bytes: number): void {
  if (at + 4 <= frame.length) frame.writeUInt32BE((frame.readUInt32BE(at) + bytes) >>> 0, at);
}
