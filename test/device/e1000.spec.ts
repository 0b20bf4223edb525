/**
 * Goal: the card does what a driver of an 82540EM expects: EEPROM, PHY, interrupts, both rings,
 * filters and counters; frames wait where there is no room; a checkpoint goes on elsewhere. Method:
 * the card on a bus without CPUs, a driver at its registers. -device 'e1000'.
 */
import { crc32 } from 'node:zlib';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { CARD_MAC, E1000Bench, type E1000Driver, frame, R } from '../support/e1000-driver.js';

let it: E1000Bench;
let driver: E1000Driver;
beforeEach(() => {
  it = new E1000Bench();
  ({ driver } = it);
});

const BROADCAST = Buffer.alloc(6, 0xff);
const tagged = (length: number, tag: number) => {
  const plain = frame(length - 4);
  const vlan = Buffer.from([0x81, 0, tag >> 8, tag & 0xff]);
  return Buffer.concat([plain.subarray(0, 12), vlan, plain.subarray(12)]);
};

describe('what a driver looks at first', () => {
  test('the PCI function: ids, class, two BARs, pin A', () => {
    expect([it.card.configRead(0, 4), it.card.configRead(8, 4)]).toEqual([
      0x100e_8086, 0x0200_0003,
    ]);
    expect([it.card.configRead(0x3d, 1), it.card.configRead(0x3c, 1)]).toEqual([1, 10]);
    it.card.configWrite(0x10, 4, 0xffff_ffff);
    it.card.configWrite(0x14, 4, 0xffff_ffff);
    expect([it.card.configRead(0x10, 4), it.card.configRead(0x14, 4)]).toEqual([
      0xfffe_0000, 0xffff_ffc1,
    ]);
  });

  test.each(['eeprom', 'eepromByWire'] as const)('the address, by %s, and its sum', way => {
    const words = Array.from({ length: 64 }, (_, n) => driver[way](n));
    expect(words.slice(0, 3)).toEqual([0x5452, 0x1200, 0x5634]);
    expect(words.reduce((sum, word) => sum + word, 0) & 0xffff).toBe(0xbaba);
    expect([words[0x0d], words[0x0e]]).toEqual([0x100e, 0x8086]);
  });

  test('by wire: words follow each other, and what is no read is ready', () => {
    const set = (bits: number) => driver.set(R.EECD, 0x42 + bits);
    const bit = (data: number) => {
      set(data + 1);
      const out = (driver.get(R.EECD) >> 3) & 1;
      set(data);
      return out;
    };
    const word = () => Array.from({ length: 16 }, () => bit(0)).reduce((v, b) => 2 * v + b, 0);
    const command = (bits: number) => {
      driver.set(R.EECD, 0);
      set(0);
      for (let n = 8; n >= 0; n--) bit((bits >> n) & 1 ? 4 : 0);
    };
    command(0x180);
    expect([word(), word(), word()]).toEqual([0x5452, 0x1200, 0x5634]);
    command(0x140);
    expect([bit(0), bit(4)]).toEqual([1, 1]);
    expect(driver.eepromByWire(0)).toBe(0x5452);
  });

  test('the PHY: an M88E1011 whose link is up', () => {
    const data = (register: number) => driver.phy(register) & 0xffff;
    expect([data(2), data(3)]).toEqual([0x0141, 0x0c20]);
    expect(data(1) & 0x24).toBe(0x24);
    expect(data(17) & 0xec00).toBe(0xac00);
    expect(driver.phy(2) & 0x1000_0000).not.toBe(0);
    driver.phy(4, 0x0de1);
    driver.phy(2, 0xffff);
    expect([data(4), data(2)]).toEqual([0x0de1, 0x0141]);
    driver.phy(0, 0x9140);
    expect([data(0), data(4)]).toEqual([0x1140, 0x01e1]);
    driver.set(R.MDIC, 0x0802_0000 + 0x0040_0000);
    expect(driver.get(R.MDIC) & 0x5000_0000).toBe(0x5000_0000);
  });

  test('link and address in registers', () => {
    expect(driver.get(R.STATUS) & 0x83).toBe(0x83);
    expect([driver.get(R.RAL), driver.get(R.RAL + 4)]).toEqual([0x1200_5452, 0x8000_5634]);
    expect(Buffer.from(it.card.mac).equals(CARD_MAC)).toBe(true);
  });

  test('registers by ports, and of narrower accesses only reads', () => {
    const io = it.card.barAddress(1)!;
    it.vm.out(io, R.VET, 4);
    expect([it.vm.in(io, 4), it.vm.in(io + 4, 4)]).toEqual([R.VET, 0x8100]);
    it.vm.out(io + 4, 0x88a8, 4);
    it.vm.store(driver.base + R.VET, 0x12, 1);
    expect([driver.get(R.VET), Number(it.vm.load(driver.base + R.VET + 1, 1))]).toEqual([
      0x88a8, 0x88,
    ]);
  });

  test('a reset of the card: registers anew, the address of the EEPROM, by ports too', () => {
    driver.start();
    driver.set(R.RAL, 0x1111_1111);
    driver.set(R.IMS, 4);
    driver.set(R.ICS, 4);
    expect(it.interrupt).toBe(true);
    const io = it.card.barAddress(1)!;
    it.vm.out(io, R.CTRL, 4);
    it.vm.out(io + 4, 0x0400_0000, 4);
    expect([R.RCTL, R.TCTL, R.IMS, R.RAL].map(at => driver.get(at))).toEqual([
      0, 0, 0, 0x1200_5452,
    ]);
    expect([it.interrupt, driver.get(R.CTRL) & 0x0400_0000]).toEqual([false, 0]);
  });
});

describe('interrupts', () => {
  test('causes that are not masked; reading them clears them', () => {
    driver.set(R.ICS, 0x84);
    expect(it.interrupt).toBe(false);
    driver.set(R.IMS, 0x80);
    expect([it.interrupt, it.level(10)]).toEqual([true, true]);
    expect([driver.get(R.IMS), driver.get(R.ICR), driver.get(R.ICR)]).toEqual([0x80, 0x84, 0]);
    expect([it.interrupt, it.level(10)]).toEqual([false, false]);
    driver.set(R.ICS, 0x80);
    driver.set(R.IMC, 0x80);
    expect(it.interrupt).toBe(false);
    driver.set(R.IMS, 0x80);
    driver.set(R.ICR, 0x80);
    expect(it.interrupt).toBe(false);
  });
});

describe('guest to world', () => {
  beforeEach(() => driver.start());

  test('a frame; its descriptor is done, and the queue empty', () => {
    driver.set(R.IMS, 1);
    const n = driver.send(frame(100));
    expect(it.net.sent).toEqual([frame(100)]);
    expect([driver.done(n), driver.get(R.TDH), it.interrupt]).toEqual([1, 1, true]);
    expect(driver.get(R.ICR) & 3).toBe(3);
  });

  test('of several descriptors, when the last is there; none is done that did not ask', () => {
    const whole = frame(300);
    driver.queue([driver.data(whole.subarray(0, 14)), 0, 14, 0]);
    driver.kick();
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([0, 0]);
    driver.queue([driver.data(whole.subarray(14)), 0, 286 + 0x0100_0000, 0]);
    driver.kick();
    expect(it.net.sent).toEqual([whole]);
    expect([driver.done(0), driver.done(1), driver.get(R.TDH)]).toEqual([0, 0, 2]);
  });

  test('no room: frames stay in the ring, in order, until there is; the ring goes round', () => {
    for (let n = 0; n < 12; n++) driver.send(frame(60, CARD_MAC, 100));
    it.net.full = true;
    for (let n = 0; n < 8; n++) driver.send(frame(60, CARD_MAC, n));
    expect([it.net.sent.length, driver.get(R.TDH)]).toEqual([12, 12]);
    it.net.drain();
    expect(it.net.sent.slice(12).map(f => f[20])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(driver.get(R.TDH)).toBe(4);
  });

  test('not enabled, or no bus master: nothing leaves', () => {
    driver.set(R.TCTL, 0);
    driver.send(frame(60));
    expect(it.net.sent).toEqual([]);
    it.card.configWrite(4, 2, 3);
    driver.set(R.TCTL, 2);
    expect(it.net.sent).toEqual([]);
    it.card.configWrite(4, 2, 7);
    driver.set(R.TCTL, 2);
    expect(it.net.sent.length).toBe(1);
  });

  test('short frames are padded if that is asked for, and runts dropped', () => {
    driver.send(frame(20));
    driver.set(R.TCTL, 0x0a);
    driver.send(frame(20));
    expect(it.net.sent.map(f => f.length)).toEqual([20, 60]);
    const n = driver.send(Buffer.alloc(10));
    expect([it.net.sent.length, driver.done(n)]).toEqual([2, 1]);
  });

  test('a tag is put in, if the card does tags', () => {
    const tag = 0x2005 * 0x10000;
    driver.send(frame(100), 0x40, tag);
    driver.set(R.CTRL, 0x4000_0041);
    driver.send(frame(100), 0x40, tag);
    driver.send(frame(100), 0, tag);
    expect(it.net.sent).toEqual([frame(100), tagged(104, 0x2005), frame(100)]);
  });

  test('in a loop the card hears itself, and the world nothing', () => {
    driver.set(R.RCTL, 0x0400_8042);
    driver.offer(2);
    driver.send(frame(100));
    expect([it.net.sent.length, driver.take().length]).toEqual([0, 1]);
  });
});

describe('world to guest', () => {
  beforeEach(() => driver.start());

  test('a frame in a buffer, padded, without its checksum or with it', () => {
    driver.set(R.IMS, 0x80);
    driver.offer(3);
    it.net.arrive(frame(100));
    it.net.arrive(frame(20));
    const [one, two] = driver.take();
    expect([one.length, one.status & 0x8f, one.bytes.equals(frame(100))]).toEqual([
      100,
      0x07,
      true,
    ]);
    expect([two.length, it.interrupt, driver.get(R.RDH)]).toEqual([60, true, 2]);
    driver.set(R.RCTL, 0x8002);
    it.net.arrive(frame(100));
    const [three] = driver.take();
    expect([three.length, three.bytes.readUInt32LE(100)]).toEqual([104, crc32(frame(100))]);
  });

  test('no buffer: the world keeps it until there is one; few are left: an interrupt says so', () => {
    it.net.arrive(frame(100));
    expect(it.net.waiting.length).toBe(1);
    driver.offer(1);
    expect([it.net.waiting.length, driver.take().length]).toEqual([0, 1]);
    expect(driver.get(R.ICR) & 0x90).toBe(0x90);
    driver.offer(12);
    it.net.arrive(frame(100));
    expect(driver.get(R.ICR) & 0x90).toBe(0x80);
  });

  test.each([
    [0x0003_0000, 256],
    [0x0002_0000, 512],
    [0x0001_0000, 1024],
    [0x0203_0000, 4096],
    [0x0202_0000, 8192],
    [0x0201_0000, 16_384],
  ])('buffers by RCTL %i: of %i bytes', (bits, size) => {
    driver.set(R.RCTL, 0x0400_8022 + bits);
    driver.offer(15);
    const large = frame(Math.min(2 * size + 10, 16_000));
    it.net.arrive(large);
    const pieces = driver.take();
    const lengths = Array.from({ length: Math.ceil(large.length / size) }, (_, n) =>
      Math.min(size, large.length - n * size),
    );
    expect(pieces.map(p => p.length)).toEqual(lengths);
    expect(pieces.map(p => p.status & 2)).toEqual(lengths.map((_, n) => 2 * +!lengths[n + 1]));
    expect(Buffer.concat(pieces.map(p => p.bytes)).equals(large)).toBe(true);
  });

  test('a long frame only where they are wanted; one that never fits is dropped', () => {
    driver.offer(2);
    it.net.arrive(frame(1519));
    it.net.arrive(frame(1518));
    expect(driver.take().map(p => p.length)).toEqual([1518]);
    expect([driver.get(0x40ac), driver.get(0x40ac)]).toEqual([1, 0]);
    driver.set(R.RCTL, 0x0403_8022);
    driver.offer(14);
    it.net.arrive(frame(9000));
    expect([it.net.waiting.length, driver.take().length]).toEqual([0, 0]);
  });

  test('a descriptor without an address takes nothing, and is done', () => {
    driver.offer(1, 0);
    driver.offer(1);
    it.net.arrive(frame(100));
    expect(driver.take().map(p => [p.length, p.status & 3])).toEqual([
      [0, 1],
      [100, 3],
    ]);
    expect(it.vm.ram.readU32(0)).toBe(0);
  });

  test('not enabled: what comes is lost', () => {
    driver.set(R.RCTL, 0);
    it.net.arrive(frame(100));
    expect(it.net.waiting.length).toBe(0);
  });

  describe('filters', () => {
    const came = (f: Buffer) => {
      driver.offer(1);
      it.net.arrive(f);
      return driver.take().length === 1;
    };
    const rctl = (bits: number) => driver.set(R.RCTL, 0x0400_0002 + bits);
    const foreign = Buffer.from('020000000001', 'hex');
    const group = Buffer.from('01005e010203', 'hex');

    test('the card, a further address, all; broadcast; groups', () => {
      rctl(0);
      expect([CARD_MAC, foreign, group, BROADCAST].map(to => came(frame(60, to)))).toEqual([
        true,
        false,
        false,
        false,
      ]);
      driver.set(R.RAL + 8, foreign.readUInt32LE(0));
      driver.set(R.RAL + 12, 0x8000_0000 + foreign.readUInt16LE(4));
      expect(came(frame(60, foreign))).toBe(true);
      driver.set(R.RAL + 12, foreign.readUInt16LE(4));
      expect(came(frame(60, foreign))).toBe(false);
      rctl(8);
      expect([foreign, group].map(to => came(frame(60, to)))).toEqual([true, false]);
      rctl(0x10);
      expect([foreign, group].map(to => came(frame(60, to)))).toEqual([false, true]);
      rctl(0x8000);
      expect([BROADCAST, group].map(to => came(frame(60, to)))).toEqual([true, false]);
    });

    test.each([
      [0, 0x032],
      [1, 0x065],
      [2, 0x0cb],
      [3, 0x304],
    ])('groups by hash, of the bits that offset %i says', (offset, hash) => {
      const to = Buffer.from('01005e7f2c03', 'hex');
      to[4] = [0x20, 0x28, 0x2c, 0x04][offset];
      to[5] = 0x03;
      rctl(offset * 0x1000);
      expect(came(frame(60, to))).toBe(false);
      driver.set(R.MTA + 4 * (hash >> 5), 2 ** (hash & 31));
      expect(came(frame(60, to))).toBe(true);
    });

    test('VLANs: those of the table; the tag is taken out if the card does tags', () => {
      rctl(0x0004_0000);
      expect(came(tagged(100, 0x2025))).toBe(false);
      driver.set(R.VFTA + 4, 1 << 5);
      expect([came(tagged(100, 0x2025)), came(frame(60))]).toEqual([true, true]);
      driver.set(R.CTRL, 0x4000_0041);
      driver.offer(1);
      it.net.arrive(tagged(104, 0x2025));
      const [got] = driver.take();
      expect([got.status & 8, got.tag, got.bytes.equals(frame(100))]).toEqual([8, 0x2025, true]);
    });
  });
});

test('counters: frames and bytes both ways, cleared by a read', () => {
  driver.start();
  driver.offer(4);
  driver.send(frame(60, BROADCAST));
  driver.send(frame(96));
  it.net.arrive(frame(60));
  it.net.arrive(frame(60, BROADCAST));
  expect([0x4080, 0x40d4, 0x40f4].map(at => driver.get(at))).toEqual([2, 2, 1]);
  expect([0x4074, 0x40d0, 0x4078].map(at => driver.get(at))).toEqual([2, 2, 1]);
  expect([0x4090, 0x4090, 0x4094, 0x4090].map(at => driver.get(at))).toEqual([164, 164, 0, 0]);
  expect([0x4080, 0x4074].map(at => driver.get(at))).toEqual([0, 0]);
});

test('a checkpoint goes on elsewhere: rings, registers, filters', async () => {
  driver.start();
  driver.offer(4);
  driver.set(R.IMS, 0x80);
  it.net.arrive(frame(60));
  const other = new E1000Bench();
  await other.adopt(it);
  expect([other.interrupt, other.driver.get(R.RDH)]).toEqual([true, 1]);
  other.net.arrive(frame(80));
  expect(other.driver.get(R.RDH)).toBe(2);
  expect(other.vm.ram.readU16(0x10018)).toBe(80);
});
