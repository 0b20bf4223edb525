/**
 * Goal: the controller does what a driver's schedule says, frame by frame of guest time, costs
 * nothing while nothing happens, and no schedule harms it. Method: the controller on a board
 * without CPUs, transfers in guest memory. -device 'piix3-usb-uhci'.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Pid } from '../../src/hw/usb/contract.js';
import { TdBit } from '../../src/hw/usb/uhci-schedule.js';
import { UsbPointer } from '../../src/hw/usb/usb-pointer.js';
import type { FakeRam } from '../support/fake-ram.js';
import { Random } from '../support/random.js';
import { UsbBench } from '../support/usb-bench.js';
import { request, UhciPort as R } from '../support/usb-driver.js';

const newBench = () => new UsbBench(clock => new UsbPointer('tablet', 'tablet', clock));
let it: UsbBench;
beforeEach(() => {
  it = newBench();
});

const deviceRequest = { pid: Pid.SETUP, data: request(0x8006, 0x0100, 0, 18) };
const status = () => it.driver.get(R.STATUS);

test('on the PCI bus it has pin D, and its ports', () => {
  expect([it.uhci.configRead(0, 4), it.uhci.configRead(8, 4) >>> 8]).toEqual([
    0x7020_8086, 0x0c0300,
  ]);
  expect([it.uhci.configRead(0x3d, 1), it.uhci.configRead(0x3c, 1)]).toEqual([4, 11]);
  expect([it.uhci.configRead(0x60, 1), it.uhci.configRead(0xc0, 2)]).toEqual([0x10, 0x2000]);
  it.uhci.configWrite(0x20, 4, 0xffff_ffff);
  expect(it.uhci.configRead(0x20, 4)).toBe(0xffff_ffe1);
});

test('registers after a reset, and parts of them', () => {
  const { driver } = it;
  expect([0, 2, 4, 6, 0x0c].map(at => driver.get(at))).toEqual([0, 0x20, 0, 0, 0x40]);
  expect([driver.get(R.PORT), driver.get(R.PORT + 2), driver.get(R.PORT + 4)]).toEqual([
    0x0093, 0x0080, 0,
  ]);
  it.bench.vm.out(driver.base + R.BASE, 0xffff_ffff, 4);
  expect(it.bench.vm.in(driver.base + R.BASE, 4)).toBe(0xffff_f000);
  it.bench.vm.out(driver.base + R.BASE + 2, 0x12);
  expect(it.bench.vm.in(driver.base + R.BASE, 4)).toBe(0xff12_f000);
  driver.set(R.FRAME, 0xffff);
  expect(driver.get(R.FRAME)).toBe(0x7ff);
  driver.set(R.ENABLE, 0xffff);
  expect([driver.get(R.ENABLE), it.bench.vm.in(driver.base + R.ENABLE)]).toEqual([0x0f, 0x0f]);
  driver.set(R.COMMAND, 2);
  expect([0, 4, 6].map(at => driver.get(at))).toEqual([0, 0, 0]);
});

describe('a port', () => {
  test('is enabled where a device is, its changes are cleared by ones', () => {
    const { driver } = it;
    driver.resetPort();
    expect(driver.get(R.PORT)).toBe(0x0095);
    it.bench.vm.out(driver.base + R.PORT + 1, 0x10);
    expect(driver.get(R.PORT)).toBe(0x1095);
    driver.set(R.PORT + 2, 0x0004);
    expect(driver.get(R.PORT + 2)).toBe(0x0080);
  });

  test('that is reset leaves the device without its address', () => {
    const { driver } = it;
    driver.start();
    driver.setUp(0, 5);
    expect(it.devices[0].address).toBe(5);
    driver.resetPort();
    expect(it.devices[0].address).toBe(0);
    driver.setUp(0, 5);
    driver.set(R.COMMAND, 4);
    expect([it.devices[0].address, driver.get(R.PORT)]).toEqual([0, 0x0093]);
  });

  test('that sleeps lets nothing pass; a device that may wakes the host', () => {
    const { driver } = it;
    driver.start();
    driver.setUp(0, 5);
    driver.order(5, 0x0003, 1);
    driver.news(5);
    driver.set(R.PORT, 0x1004);
    expect(it.devices[0].ready).toBe(false);
    expect(driver.run([{ ...deviceRequest, address: 5 }])[0].control & TdBit.STALLED).not.toBe(0);
    driver.set(R.STATUS, 0x3f);
    it.input.addPointer({ ready: false, absolute: true, move: () => undefined });
    it.devices[0].contain(
      () => (it.devices[0] as unknown as { port: { attention(): void } }).port.attention(),
      undefined,
    );
    expect([driver.get(R.PORT) & 0x40, status(), it.level]).toEqual([0x40, 4, true]);
    driver.set(R.PORT, 0x0004);
    expect(driver.get(R.PORT) & 0x1040).toBe(0);
    driver.set(R.STATUS, 4);
    expect(it.level).toBe(false);
  });
});

describe('frames', () => {
  test('count guest time while it runs, and stand still otherwise', () => {
    const { driver } = it;
    it.advance(10);
    expect(driver.get(R.FRAME)).toBe(0);
    driver.start();
    it.advance(10);
    expect([driver.get(R.FRAME), status()]).toEqual([10, 0]);
    driver.set(R.COMMAND, 0);
    it.advance(10);
    expect([driver.get(R.FRAME), status()]).toEqual([10, 0x20]);
    driver.set(R.COMMAND, 1);
    it.advance(0x7ff);
    expect(driver.get(R.FRAME)).toBe(9);
  });

  test('each leads to its own list', () => {
    const { driver } = it;
    driver.start();
    driver.resetPort();
    driver.queue([deviceRequest]);
    const { ram } = it.bench.vm;
    for (let n = 0; n < 1024; n++) ram.writeU32(0x1000 + 4 * n, n === 5 ? 0x3002 : 1);
    it.advance(5);
    expect(driver.end().active).toBe(true);
    it.advance(1);
    expect(driver.end().active).toBe(false);
  });

  test('without news several are one wake-up, and the first news ends that', () => {
    const { driver, bench } = it;
    driver.start();
    driver.setUp(0, 5);
    driver.queue([{ pid: Pid.IN, address: 5, endpoint: 1, length: 8 }]);
    let wakes = 0;
    const timer = bench.host.timer.bind(bench.host);
    bench.host.timer = (ms, fn) => timer(ms, () => (wakes++, fn()));
    it.advance(100);
    wakes = 0;
    it.advance(800);
    expect(wakes).toBeLessThanOrEqual(101);
    expect(driver.end().active).toBe(true);
    it.advance(3);
    it.input.moveTo('x', 77);
    it.input.sync();
    it.advance(1);
    expect([driver.end().active, driver.end().bytes[1]]).toEqual([false, 77]);
  });

  test.each([
    ['stopped', (b: UsbBench) => b.driver.set(R.COMMAND, 0)],
    ['asleep', (b: UsbBench) => b.driver.set(R.COMMAND, 9)],
    ['reset', (b: UsbBench) => b.driver.set(R.COMMAND, 2)],
    ['without the bus', (b: UsbBench) => b.uhci.configWrite(4, 2, 1)],
  ])('%s: no timer', (_name, act) => {
    it.driver.start();
    expect(it.bench.host.armed).toBe(1);
    act(it);
    expect(it.bench.host.armed).toBe(0);
  });

  test('a host that was late goes on from now, in one go of limited length', () => {
    const { driver, bench } = it;
    driver.start();
    driver.resetPort();
    bench.vm.clockNs += 10_000_000_000n;
    let reads = 0;
    const { ram } = bench.vm;
    const readU32 = ram.readU32.bind(ram);
    ram.readU32 = gpa => (reads++, readU32(gpa));
    it.advance(1);
    expect(reads).toBeLessThan(100);
    expect(driver.get(R.FRAME)).toBe(10_001 % 2048);
  });
});

describe('transfers', () => {
  beforeEach(() => {
    it.driver.start();
    it.driver.resetPort();
  });

  test('that are done are taken out of the queue, with their length; the last one interrupts', () => {
    const { driver, bench } = it;
    const read = { pid: Pid.IN, length: 8 };
    const ends = driver.run([
      deviceRequest,
      read,
      read,
      { ...read, length: 2, bits: TdBit.INTERRUPT },
    ]);
    expect(ends.map(end => end.active)).toEqual([false, false, false, false]);
    expect(Buffer.concat(ends.slice(1).map(end => end.bytes)).length).toBe(18);
    expect(bench.vm.ram.readU32(0x3004)).toBe(1);
    expect([status(), it.level]).toEqual([1, true]);
    driver.set(R.ENABLE, 0x0b);
    expect(it.level).toBe(false);
    driver.set(R.ENABLE, 0x04);
    it.uhci.configWrite(0xc1, 1, 0);
    expect(it.level).toBe(false);
    it.uhci.configWrite(0xc1, 1, 0x20);
    expect(it.level).toBe(true);
    driver.set(R.STATUS, 1);
    expect([status(), it.level]).toEqual([0, false]);
  });

  test('that are short hold the queue where they say so, and interrupt', () => {
    const { driver, bench } = it;
    driver.run([deviceRequest]);
    const read = { pid: Pid.IN, length: 32 };
    const [short, next] = driver.run([{ ...read, bits: TdBit.SHORT }, read]);
    expect([short.active, short.bytes.length, next.active]).toEqual([false, 8, true]);
    expect([bench.vm.ram.readU32(0x3004), status(), it.level]).toEqual([0x4000, 1, true]);
    driver.set(R.ENABLE, 0x04);
    expect(it.level).toBe(false);
    driver.set(R.STATUS, 1);
    expect(driver.run([read, read]).map(end => end.active)).toEqual([false, false]);
  });

  test('that are refused: stalled, with an error interrupt', () => {
    const { driver } = it;
    const [, refused] = driver.run([
      { pid: Pid.SETUP, data: request(0x8006, 0x7700, 0, 18) },
      { pid: Pid.IN, length: 8 },
    ]);
    expect([refused.active, refused.control & 0x007f_0000]).toEqual([false, TdBit.STALLED]);
    expect([status(), it.level]).toEqual([2, true]);
  });

  test('that nobody answers: three tries in three frames, or for ever', () => {
    const { driver, bench } = it;
    const lost = { pid: Pid.IN, address: 99, length: 8 };
    driver.queue([lost]);
    it.advance(2);
    expect([driver.end().active, (driver.end().control >>> 27) & 3]).toEqual([true, 1]);
    it.advance(1);
    expect([driver.end().active, driver.end().control & 0x007f_0000]).toEqual([
      false,
      TdBit.STALLED + TdBit.TIMEOUT,
    ]);
    expect(status()).toBe(2);
    driver.set(R.STATUS, 2);
    driver.queue([lost]);
    bench.vm.ram.writeU32(0x4004, TdBit.ACTIVE);
    it.advance(50);
    expect([driver.end().active, status()]).toEqual([true, 0]);
  });

  test('that get more than they have room for: babble', () => {
    const { driver } = it;
    driver.run([deviceRequest]);
    const [end] = driver.run([{ pid: Pid.IN, length: 4 }]);
    expect([end.active, end.control & 0x007f_0000]).toEqual([false, TdBit.STALLED + TdBit.BABBLE]);
  });

  test('without news say so once, and write nothing more', () => {
    const { driver, bench } = it;
    driver.setUp(0, 5);
    driver.queue([{ pid: Pid.IN, address: 5, endpoint: 1, length: 8 }]);
    it.advance(2);
    expect(driver.end().control & (TdBit.NAK + TdBit.ACTIVE)).toBe(TdBit.NAK + TdBit.ACTIVE);
    const { writes } = bench.vm.ram as FakeRam;
    const before = writes.length;
    it.advance(500);
    expect(writes.length).toBe(before);
  });

  test('that are over interrupt in each frame that comes to them', () => {
    const { driver, bench } = it;
    bench.vm.ram.writeU32(0x4004, TdBit.INTERRUPT);
    bench.vm.ram.writeU32(0x3004, 0x4000);
    it.advance(2);
    expect(status()).toBe(1);
    driver.set(R.STATUS, 1);
    it.advance(2);
    expect(status()).toBe(1);
  });

  test('in a frame itself, before the queues; those of a moment are tried once', () => {
    const { driver, bench } = it;
    const { ram } = bench.vm;
    driver.queue([{ pid: Pid.IN, address: 99, length: 8, bits: TdBit.ISOCHRONOUS }]);
    ram.writeU32(0x4000, 0x3002);
    ram.writeU32(0x3004, 1);
    for (let n = 0; n < 1024; n++) ram.writeU32(0x1000 + 4 * n, 0x4000);
    it.advance(2);
    expect(driver.end().active).toBe(false);
  });

  test('half of a request goes on elsewhere', async () => {
    it.driver.run([deviceRequest, { pid: Pid.IN, length: 8 }]);
    const other = newBench();
    await other.take(it);
    const [end] = other.driver.run([{ pid: Pid.IN, length: 8 }]);
    expect(end.bytes.readUInt16LE(0)).toBe(0x0627);
    expect(other.driver.get(R.PORT)).toBe(0x0095);
    expect(it.bench.host.armed).toBe(0);
  });
});

describe('a hostile driver', () => {
  const run = (list: number, fill: (ram: FakeRam) => void) => {
    const { driver, bench } = it;
    driver.start();
    driver.resetPort();
    fill(bench.vm.ram as FakeRam);
    bench.vm.out(driver.base + R.BASE, list, 4);
    it.advance(20);
  };
  const PROCESS_ERROR = 0x30;

  test.each<[string, number, (ram: FakeRam) => void]>([
    ['a list outside of RAM', 0xf000_0000, () => undefined],
    [
      'a queue outside of RAM',
      0x1000,
      ram => {
        for (let n = 0; n < 1024; n++) ram.writeU32(0x1000 + 4 * n, 0xe000_0002);
      },
    ],
    ['a transfer outside of RAM', 0x1000, ram => void ram.writeU32(0x3004, 0xe000_0000)],
    [
      'a kind of packet that there is not',
      0x1000,
      ram => {
        it.driver.queue([{ pid: 0x42, length: 8 }]);
        ram.writeU32(0x3004, 0x4000);
      },
    ],
    ['a packet that is too long', 0x1000, () => it.driver.queue([{ pid: Pid.IN, length: 1281 }])],
    [
      'a buffer outside of RAM',
      0x1000,
      ram => {
        it.driver.queue([deviceRequest]);
        ram.writeU32(0x400c, 0xe000_0000);
      },
    ],
  ])('%s stops the controller with an error', (_name, list, fill) => {
    run(list, fill);
    expect([status(), it.level, it.bench.host.armed]).toEqual([PROCESS_ERROR, true, 0]);
    expect(it.driver.get(R.COMMAND) & 1).toBe(0);
    it.driver.set(R.STATUS, 0x18);
    expect([status(), it.level]).toEqual([0x20, false]);
  });

  test('an answer outside of RAM, too', () => {
    run(0x1000, ram => {
      it.driver.queue([deviceRequest, { pid: Pid.IN, length: 8 }]);
      ram.writeU32(0x402c, 0xe000_0000);
    });
    expect(status()).toBe(PROCESS_ERROR);
  });

  /** A frame's reads of memory, and packets of 8 bytes. */
  test.each<[string, number, number, (ram: FakeRam) => void]>([
    ['a queue that leads to itself', 3, 0, ram => void ram.writeU32(0x3000, 0x3002)],
    ['a queue inside of itself', 3, 0, ram => void ram.writeU32(0x3004, 0x3002)],
    [
      'a transfer that leads to itself',
      515,
      0,
      ram => {
        it.driver.queue([{ pid: Pid.IN, address: 99, length: 0, bits: TdBit.INTERRUPT }]);
        ram.writeU32(0x4000, 0x4004);
        for (let n = 0; n < 1024; n++) ram.writeU32(0x1000 + 4 * n, 0x4000);
      },
    ],
    [
      'two queues in a ring, with transfers that are always new',
      515,
      Math.ceil(1280 / (13 + 8)),
      ram => {
        ram.writeU32(0x3000, 0x3012);
        ram.writeU32(0x3010, 0x3002);
        it.driver.queue([{ pid: Pid.SETUP, data: request(0x8006, 0x0100, 0, 18) }]);
        ram.writeU32(0x3014, 1);
        ram.writeU32(0x4000, 0x4004);
        const write = ram.writeU32.bind(ram);
        ram.writeU32 = (gpa, value) =>
          write(gpa, gpa === 0x4004 ? (value | TdBit.ACTIVE) >>> 0 : value);
      },
    ],
  ])('%s: a frame costs so much and no more', (_name, maxReads, packets, fill) => {
    run(0x1000, fill);
    const { ram } = it.bench.vm;
    let reads = 0;
    const readU32 = ram.readU32.bind(ram);
    ram.readU32 = gpa => (reads++, readU32(gpa));
    const writes = (ram as FakeRam).writes.length;
    it.advance(1);
    expect(reads).toBeLessThanOrEqual(maxReads);
    const done = (ram as FakeRam).writes.slice(writes).filter(({ gpa }) => gpa === 0x4004);
    expect(done.length).toBe(packets);
    expect(it.driver.get(R.COMMAND) & 1).toBe(1);
  });

  test('whatever lies in memory, and whatever is written', () => {
    const { driver, bench } = it;
    for (let seed = 1; seed <= 20; seed++) {
      const random = new Random(seed);
      driver.start();
      driver.resetPort();
      const words = new Uint32Array(0x4000);
      for (let n = 0; n < words.length; n++)
        words[n] =
          random.below(3) === 0
            ? random.below(0x10000)
            : (random.below(2) << 23) + (random.below(64) << 21) + [0x2d, 0x69, 0xe1][n % 3];
      bench.vm.ram.write(0, new Uint8Array(words.buffer));
      for (let n = 0; n < 50; n++) {
        it.advance(2);
        driver.set(2 * random.below(10), random.below(0x10000));
        driver.set(R.COMMAND, 1);
      }
      const { vmstate, state } = it.uhci;
      vmstate.parse(vmstate.save(state), vmstate.version);
    }
    expect(it.uhci.failure).toBeUndefined();
  });
});
