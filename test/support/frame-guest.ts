/**
 * A guest of raw frames behind a netdev: it answers ARP, keeps what else comes, and speaks as much
 * TCP as a test needs.
 */
import type { Netdev } from '../../src/net/contract.js';

export const GUEST_MAC = Buffer.from('525400123456', 'hex');
export const GUEST_IP = [10, 0, 2, 15];
export const HOST_IP = [10, 0, 2, 2];
export const Tcp = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 };
const BROADCAST = Buffer.alloc(6, 0xff);

export interface Segment {
  from: number;
  to: number;
  seq: number;
  ack: number;
  flags: number;
  data: Buffer;
}

/** RFC 1071. */
function checksum(...parts: Buffer[]): number {
  const bytes = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function ipv4(protocol: number, to: number[], payload: Buffer, fragment = 0): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(fragment, 6);
  header.set([64, protocol], 8);
  header.set(GUEST_IP, 12);
  header.set(to, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([BROADCAST, GUEST_MAC, Buffer.from([8, 0]), header, payload]);
}

export function udp(from: number, toPort: number, to: number[], data: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(from, 0);
  header.writeUInt16BE(toPort, 2);
  header.writeUInt16BE(8 + data.length, 4);
  return ipv4(17, to, Buffer.concat([header, data]));
}

export function tcp(s: Partial<Segment> & { from: number; to: number; flags: number }): Buffer {
  const { data = Buffer.alloc(0) } = s;
  const header = Buffer.alloc(20);
  header.writeUInt16BE(s.from, 0);
  header.writeUInt16BE(s.to, 2);
  header.writeUInt32BE(s.seq ?? 0, 4);
  header.writeUInt32BE(s.ack ?? 0, 8);
  header.set([0x50, s.flags, 0xff, 0xff], 12);
  const pseudo = Buffer.from([...GUEST_IP, ...HOST_IP, 0, 6, 0, 0]);
  pseudo.writeUInt16BE(20 + data.length, 10);
  header.writeUInt16BE(checksum(pseudo, header, data), 16);
  return ipv4(6, HOST_IP, Buffer.concat([header, data]));
}

export function arpQuestion(target: number[]): Buffer {
  return arp(1, BROADCAST, Buffer.alloc(6), target);
}

function arp(operation: number, toMac: Buffer, targetMac: Buffer, target: number[]): Buffer {
  const head = Buffer.from([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
  return Buffer.concat([
    toMac,
    GUEST_MAC,
    head,
    GUEST_MAC,
    Buffer.from(GUEST_IP),
    targetMac,
    Buffer.from(target),
  ]);
}

export const isArpAnswer = (frame: Buffer) =>
  frame.readUInt32BE(12) === 0x0806_0001 && frame[21] === 2;

export function segmentOf(frame: Buffer): Segment | undefined {
  if (frame.readUInt16BE(12) !== 0x0800 || frame[23] !== 6) return undefined;
  const at = 14 + (frame[14] & 15) * 4;
  const end = 14 + frame.readUInt16BE(16);
  return {
    from: frame.readUInt16BE(at),
    to: frame.readUInt16BE(at + 2),
    seq: frame.readUInt32BE(at + 4),
    ack: frame.readUInt32BE(at + 8),
    flags: frame[at + 13],
    data: frame.subarray(at + (frame[at + 12] >> 4) * 4, end),
  };
}

export class FrameGuest {
  /** All but questions of ARP; whoever looks takes them out. */
  readonly got: Buffer[] = [];
  /** Takes nothing when off. */
  room = true;

  constructor(readonly netdev: Netdev) {
    netdev.attachNic({
      mac: GUEST_MAC,
      announce: () => undefined,
      receive: frame => {
        if (!this.room) return false;
        this.take(Buffer.from(frame));
        return true;
      },
    });
  }

  send(frame: Buffer): void {
    if (!this.netdev.send(frame)) throw new Error('the netdev has no room');
  }

  async next<T>(what: string, look: (frame: Buffer) => T | undefined | false): Promise<T> {
    for (let looks = 0; looks < 6000; looks++) {
      for (let frame = this.got.shift(); frame; frame = this.got.shift()) {
        const found = look(frame);
        if (found !== undefined && found !== false) return found;
      }
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    throw new Error(`${what} did not come`);
  }

  /** Of one connection, with all of these flags. */
  segment(port: number, flags: number): Promise<Segment> {
    return this.next(`a segment with flags ${flags}`, frame => {
      const s = segmentOf(frame);
      return s?.to === port && (s.flags & flags) === flags && s;
    });
  }

  private take(frame: Buffer): void {
    const asked = frame.readUInt32BE(12) === 0x0806_0001 && frame[21] === 1;
    if (!asked) this.got.push(frame);
    else if (frame.subarray(38, 42).equals(Buffer.from(GUEST_IP)))
      this.netdev.send(
        arp(2, frame.subarray(6, 12), frame.subarray(22, 28), [...frame.subarray(28, 32)]),
      );
  }
}
