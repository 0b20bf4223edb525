/**
 * Goal: what an e1000 does to packets on their way out is what a network expects: right checksums,
 * and frames that are a large packet in pieces, each once. Method: the card on a bus without CPUs;
 * IPv4 packets whose sums are counted here, too.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { CARD_MAC, E1000Bench, type E1000Driver, frame, R } from '../support/e1000-driver.js';

let it: E1000Bench;
let driver: E1000Driver;
beforeEach(() => {
  it = new E1000Bench();
  ({ driver } = it);
  driver.start();
});

/** An IPv4 packet of TCP or UDP, without its checksums; length: of what follows the headers. */
function ipv4(length: number, protocol: 6 | 17, flags = 0x19): Buffer {
  const header = protocol === 6 ? 20 : 8;
  const packet = Buffer.alloc(34 + header + length);
  frame(34, CARD_MAC, 0).copy(packet);
  packet[14] = 0x45;
  packet.writeUInt16BE(20 + header + length, 16);
  packet.writeUInt16BE(7, 18);
  packet[22] = 64;
  packet[23] = protocol;
  packet.set([10, 0, 2, 15, 10, 0, 2, 2], 26);
  packet.set([0x12, 0x34, 0, 80], 34);
  if (protocol === 6) {
    packet.writeUInt32BE(0xffff_ff00, 38);
    packet[46] = 0x50;
    packet[47] = flags;
  } else {
    packet.writeUInt16BE(8 + length, 38);
  }
  for (let n = 0; n < length; n++) packet[34 + header + n] = n * 7;
  return packet;
}
const sum16 = (bytes: Buffer): number => {
  let sum = 0;
  for (let n = 0; n < bytes.length; n += 2)
    sum += (bytes[n] << 8) + (n + 1 < bytes.length ? bytes[n + 1] : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
};
/** Of the pseudo header. length: of TCP or UDP; 0 for a packet that is cut. */
const pseudo = (packet: Buffer, length = 0) =>
  sum16(Buffer.concat([packet.subarray(26, 34), Buffer.from([0, packet[23]])])) + length;
/** Both checksums are right: each sum over its part is all ones. */
function expectGood(packet: Buffer): void {
  expect(sum16(packet.subarray(14, 34))).toBe(0xffff);
  const end = 14 + packet.readUInt16BE(16);
  expect(end).toBe(packet.length);
  const part = packet.subarray(34, end);
  const all = sum16(part) + pseudo(packet, part.length);
  expect((all & 0xffff) + (all >>> 16)).toBe(0xffff);
}
/** command: of the context. */
const context = (tcpAt: number, { command = 0, sizes = 0 } = {}) =>
  driver.queue([
    14 + (24 << 8) + (33 << 16),
    34 + (tcpAt << 8),
    (0x20 + command) << 24,
    sizes << 8,
  ]);
/** A data descriptor. command: besides its kind. */
const piece = (bytes: Uint8Array, command: number, options = 3) =>
  driver.queue([
    driver.data(bytes),
    0,
    bytes.length + 0x0010_0000 + (0x20 + command) * 2 ** 24,
    options << 8,
  ]);

describe('offloads', () => {
  test('a checksum by a descriptor of the old kind', () => {
    const packet = ipv4(11, 17);
    packet.writeUInt16BE(pseudo(packet, 19), 40);
    driver.queue([driver.data(packet), 0, packet.length + 0x0d28_0000, 34 << 8]);
    driver.kick();
    const [sent] = it.net.sent;
    const all = sum16(sent.subarray(34)) + pseudo(sent, 19);
    expect((all & 0xffff) + (all >>> 16)).toBe(0xffff);
  });

  test.each([
    [6, 50, 20],
    [17, 40, 8],
  ] as const)('both checksums of a packet of protocol %i', (protocol, at, header) => {
    const packet = ipv4(101, protocol);
    packet.writeUInt16BE(pseudo(packet, header + 101), at);
    context(at);
    piece(packet.subarray(0, 40), 0);
    piece(packet.subarray(40), 0x09);
    driver.kick();
    expect(it.net.sent.length).toBe(1);
    expectGood(it.net.sent[0]);
    expect([driver.done(0), driver.done(2), driver.get(R.TDH)]).toEqual([0, 1, 3]);
  });

  test('those that are not asked for stay, and offsets outside of the frame do nothing', () => {
    const packet = ipv4(10, 6);
    context(50);
    piece(packet, 0x09, 0);
    context(255);
    piece(packet, 0x09, 2);
    driver.kick();
    expect(it.net.sent).toEqual([packet, packet]);
  });

  test('a large TCP packet is cut: lengths, numbers, flags and checksums of each frame', () => {
    const packet = ipv4(2500, 6);
    packet.writeUInt16BE(0, 16);
    packet.writeUInt16BE(pseudo(packet), 50);
    context(50, { command: 0x07, sizes: 54 + (1000 << 8) });
    piece(packet.subarray(0, 54), 0x04);
    piece(packet.subarray(54), 0x0d);
    driver.kick();
    expect(it.net.sent.map(f => f.length)).toEqual([1054, 1054, 554]);
    for (const sent of it.net.sent) expectGood(sent);
    expect(it.net.sent.map(f => f.readUInt16BE(18))).toEqual([7, 8, 9]);
    expect(it.net.sent.map(f => f.readUInt32BE(38))).toEqual([
      0xffff_ff00, 0x0000_02e8, 0x0000_06d0,
    ]);
    expect(it.net.sent.map(f => f[47])).toEqual([0x10, 0x10, 0x19]);
    const content = Buffer.concat(it.net.sent.map(f => f.subarray(54)));
    expect(content.equals(packet.subarray(54))).toBe(true);
  });

  test('a context for packets that are cut leaves the other as it was', () => {
    const packet = ipv4(100, 6);
    packet.writeUInt16BE(pseudo(packet, 120), 50);
    context(50);
    context(40, { command: 0x07, sizes: 54 + (1000 << 8) });
    piece(packet, 0x09);
    driver.kick();
    expectGood(it.net.sent[0]);
  });

  test('no room amid a packet: the rest of its frames goes later, none twice, here or elsewhere', async () => {
    const packet = ipv4(3000, 6);
    packet.writeUInt16BE(pseudo(packet), 50);
    context(50, { command: 0x07, sizes: 54 + (1000 << 8) });
    const send = it.net.send.bind(it.net);
    it.net.send = f => {
      it.net.full = it.net.sent.length === 1;
      return send(f);
    };
    piece(packet, 0x0d);
    driver.kick();
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([1, 1]);
    const other = new E1000Bench();
    await other.adopt(it);
    other.host.advance(1);
    expect(other.net.sent.map(f => f.readUInt16BE(18))).toEqual([8, 9]);
    for (const sent of other.net.sent) expectGood(sent);
    expect(other.driver.get(R.TDH)).toBe(2);
  });

  test('pieces of nothing, or of one byte', () => {
    const packet = ipv4(2000, 6);
    context(50, { command: 0x07, sizes: 54 });
    piece(packet, 0x0d);
    driver.kick();
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([0, 2]);
    context(50, { command: 0x07, sizes: 54 + (1 << 8) });
    piece(packet, 0x0d);
    driver.kick();
    expect(it.net.sent.length).toBeLessThan(300);
    it.host.advance(10);
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([2000, 4]);
  });
});
