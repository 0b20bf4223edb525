/**
 * The PCI transport (virtio 1.1, section 4.1; PCI 3.0, chapter 6): capabilities, BARs, negotiation,
 * MSI-X, INTx, doorbells, reset.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { VirtioBlk } from '../../src/hw/block/virtio-blk.js';
import { settle, TestDisk } from '../support/device-bench.js';
import { VirtioBench } from '../support/virtio-bench.js';
import { DriverQueue, F, type Part, PciDriver } from '../support/virtio-driver.js';

const FLUSH = 9;
let disk: TestDisk;
let bench: VirtioBench<unknown>;

beforeEach(() => {
  disk = new TestDisk();
  bench = new VirtioBench(() => new VirtioBlk(disk, 'serial'));
});

/** A flush: the smallest request. */
function flushRequest(at = 0x8000): Part[] {
  bench.vm.ram.write(at, Buffer.alloc(16, 0));
  bench.vm.ram.writeU32(at, 4);
  return [
    { gpa: at, length: 16 },
    { gpa: at + 64, length: 1, write: true },
  ];
}

describe('configuration space', () => {
  test('identity, and an absent slot', () => {
    const driver = bench.driver();
    expect([driver.config(0), driver.config(8) >>> 8]).toEqual([0x1042_1af4, 0x010000]);
    expect(new PciDriver(bench, 5).config(0)).toBe(0xffff_ffff);
    expect(new PciDriver(bench, 0).config(0)).toBe(0x1237_8086);
  });

  test('every capability of section 4.1.4, and MSI-X', () => {
    const { caps, msixAt } = bench.driver();
    expect([...caps.keys()].sort()).toEqual([1, 2, 3, 4, 5]);
    expect(msixAt).toBeGreaterThan(0);
  });

  test('a BAR says its size, and moves where it is told', () => {
    const driver = bench.driver();
    driver.setConfig(0x10, 0xffff_ffff);
    expect(driver.config(0x10)).toBe(0xffff_c000);
    driver.setConfig(0x10, 0xd000_0000);
    driver.bars[0] = 0xd000_0000;
    expect(driver.read(0x12, 2)).toBe(1);
    driver.setConfig(0x04, 0, 2);
    expect(driver.read(0x12, 2)).toBe(0xffff);
  });

  test('read-only bits stay', () => {
    const driver = bench.driver();
    driver.setConfig(0, 0);
    driver.setConfig(0x34, 0xff, 1);
    expect(driver.config(0)).toBe(0x1042_1af4);
    expect(driver.config(0x34, 1)).not.toBe(0xff);
  });

  test(
    'two BARs on one address: the second does not decode, and comes back when the first has ' +
      'gone',
    () => {
      const driver = bench.driver();
      driver.setConfig(0x14, driver.bars[0]);
      expect(driver.read(0x12, 2)).toBe(1);
      driver.setConfig(0x10, 0xd000_0000);
      driver.bars[1] = driver.bars[0];
      driver.bars[0] = 0xd000_0000;
      expect(driver.read(0x12, 2)).toBe(1);
      expect(Number(bench.vm.load(driver.bars[1] + 12))).toBe(1); // vector control: masked
    },
  );

  test('the configuration window reaches the common structure', () => {
    const driver = bench.driver();
    const { at } = driver.caps.get(5)!;
    driver.setConfig(at + 4, 0, 1);
    driver.setConfig(at + 8, 0x12);
    driver.setConfig(at + 12, 2);
    expect(driver.config(at + 16, 2)).toBe(1);
    driver.setConfig(at + 8, 0x14);
    driver.setConfig(at + 12, 1);
    driver.setConfig(at + 16, 1, 1);
    expect(driver.status).toBe(1);
  });

  test.each([
    [4, 0x8000_0000, 0x8000_0000],
    [4, 0xffff_ffff, 0xffff_ffff],
    [2, 0xffff, 0xffff_ffff],
    [1, 0xff, 0xffff_ffff],
  ])('the window of %i bytes reads 0x%x with its top bit', (length, seen, value) => {
    const driver = bench.driver();
    const { at } = driver.caps.get(5)!;
    driver.setConfig(at + 4, 0, 1);
    driver.setConfig(at + 8, 0x00); // DEVICE_FEATURE_SELECT keeps any 32 bits
    driver.setConfig(at + 12, 4);
    driver.setConfig(at + 16, value);
    driver.setConfig(at + 12, length);
    driver.setConfig(at + 8, 0x00);
    expect(driver.config(at + 16, length as 1 | 2 | 4)).toBe(seen);
  });
});

describe('negotiation', () => {
  test('VERSION_1 is a condition; unknown bits are not accepted', () => {
    const driver = bench.driver();
    driver.negotiate([FLUSH]);
    expect(driver.status & 8).toBe(0);
    driver.negotiate([FLUSH, F.VERSION_1, 63]);
    expect(driver.status & 8).toBe(8);
    driver.write(0x08, 1);
    expect(driver.read(0x0c)).toBe(1);
  });

  test('a queue size that is no power of two is not taken', () => {
    const driver = bench.driver();
    driver.write(0x18, 100, 2);
    expect(driver.read(0x18, 2)).toBe(256);
  });

  test('a queue that does not exist has size 0', () => {
    const driver = bench.driver();
    driver.write(0x16, 7, 2);
    expect([driver.read(0x18, 2), driver.read(0x1c, 2)]).toEqual([0, 0]);
  });

  test('an impossible vector reads back as none', () => {
    const driver = bench.driver();
    driver.write(0x10, 9, 2);
    expect(driver.read(0x10, 2)).toBe(0xffff);
  });
});

describe('interrupts', () => {
  test('MSI-X: address and data of the vector', async () => {
    const { queues } = bench.up([FLUSH]);
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    expect(bench.vm.messages).toEqual([{ address: 0xfee0_0000n, data: 0x40 }]);
  });

  test('MSI-X: masked, it is pending until unmasked', async () => {
    const { driver, queues } = bench.up([FLUSH]);
    bench.vm.store(driver.bars[1] + 12, 1);
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    expect(bench.vm.messages).toEqual([]);
    expect(Number(bench.vm.load(driver.bars[1] + 0x800))).toBe(1);
    bench.vm.store(driver.bars[1] + 12, 0);
    expect(bench.vm.messages.length).toBe(1);
    expect(Number(bench.vm.load(driver.bars[1] + 0x800))).toBe(0);
  });

  test('MSI-X: the function mask holds back all vectors', async () => {
    const { driver, queues } = bench.up([FLUSH]);
    driver.setConfig(driver.msixAt + 2, 0xc000, 2);
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    expect(bench.vm.messages).toEqual([]);
    driver.setConfig(driver.msixAt + 2, 0x8000, 2);
    expect(bench.vm.messages.length).toBe(1);
  });

  test('INTx: a level until the ISR is read, unless disabled in the command register', async () => {
    const driver = bench.driver();
    driver.negotiate([F.VERSION_1]);
    const queue = new DriverQueue(driver, 0, 16, 0x10000);
    driver.ready();
    queue.add(flushRequest());
    queue.kick();
    await settle();
    expect(bench.level(17)).toBe(true); // slot 1, pin A
    expect(driver.config(0x06, 2) & 8).toBe(8);
    driver.setConfig(0x04, 0x0406, 2);
    expect(bench.level(17)).toBe(false);
    driver.setConfig(0x04, 0x0006, 2);
    expect(Number(bench.vm.load(driver.address(3), 1))).toBe(1);
    expect(bench.level(17)).toBe(false);
  });
});

describe('doorbells', () => {
  test('one per enabled queue, and it follows the BAR', async () => {
    const { driver, queues } = bench.up([FLUSH]);
    const bell = () => [...bench.vm.bells].map(b => b.address);
    expect(bell()).toEqual([driver.address(2)]);
    driver.setConfig(0x10, 0xd000_0000);
    driver.bars[0] = 0xd000_0000;
    expect(bell()).toEqual([driver.address(2)]);
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    expect(queues[0].take().length).toBe(1);
    driver.status = 0;
    expect(bell()).toEqual([]);
  });

  test('without bus mastering rings are not touched', async () => {
    const { driver, queues } = bench.up([FLUSH]);
    driver.setConfig(0x04, 0x0002, 2);
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    expect(queues[0].take()).toEqual([]);
  });
});

describe('a driver that misbehaves', () => {
  test('needs a reset, shows that, and works after it', async () => {
    const { driver, queues } = bench.up([FLUSH]);
    queues[0].setAvailIdx(500);
    queues[0].kick();
    expect(driver.status & 0x40).toBe(0x40);
    // configuration vector
    expect(bench.vm.messages).toEqual([{ address: 0xfee0_0000n, data: 0x41 }]);
    const again = bench.up([FLUSH]);
    again.queues[0].add(flushRequest());
    again.queues[0].kick();
    await settle();
    expect(again.queues[0].take().length).toBe(1);
  });

  test('rings outside RAM', () => {
    const driver = bench.driver();
    driver.negotiate([F.VERSION_1]);
    new DriverQueue(driver, 0, 16, 0x4000_0000);
    expect(driver.status & 0x40).toBe(0x40);
  });
});

test(
  'a reset with requests in flight: status stays non-zero until they are done, and their rings ' +
    'are left alone',
  async () => {
    const { driver, queues } = bench.up([FLUSH]);
    disk.held = [];
    queues[0].add(flushRequest());
    queues[0].kick();
    await settle();
    driver.status = 0;
    expect(driver.status).not.toBe(0);
    const { writes } = bench.vm.ram as unknown as { writes: unknown[] };
    const before = writes.length;
    disk.release();
    await settle();
    expect(driver.status).toBe(0);
    expect(writes.length).toBe(before);
  },
);
