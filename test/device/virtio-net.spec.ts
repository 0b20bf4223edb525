/**
 * The NIC as a driver sees it (virtio 1.1, section 5.1): both directions with back-pressure,
 * mergeable buffers, control commands, announce.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { VirtioNet } from '../../src/hw/net/virtio-net.js';
import { settle, TestNet } from '../support/device-bench.js';
import { VirtioBench } from '../support/virtio-bench.js';
import { type DriverQueue, F, type PciDriver } from '../support/virtio-driver.js';

const Feature = {
  MAC: 5,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  ANNOUNCE: 21,
  CTRL_MAC: 23,
} as const;
const ALL = Object.values(Feature);
const MAC = Buffer.from('525400123456', 'hex');
let net: TestNet;
let model: VirtioNet;
let bench: VirtioBench<unknown>;
let driver: PciDriver;
let rx: DriverQueue;
let tx: DriverQueue;
let control: DriverQueue;

function start(features: readonly number[] = ALL): void {
  net = new TestNet();
  bench = new VirtioBench(() => (model = new VirtioNet(net.netdev, MAC)));
  ({
    driver,
    queues: [rx, tx, control],
  } = bench.up(features, 3));
}
beforeEach(() => start());

const frame = (length: number, to: Buffer = MAC, fill = 0x55) =>
  Buffer.concat([to, Buffer.alloc(6, 2), Buffer.from([8, 0]), Buffer.alloc(length - 14, fill)]);
function transmit(data: Buffer, at = 0x100000): void {
  bench.vm.ram.write(at, Buffer.concat([Buffer.alloc(12), data]));
  tx.add([
    { gpa: at, length: 12 },
    { gpa: at + 12, length: data.length },
  ]);
  tx.kick();
}
const buffer = (at: number, length: number) => rx.add([{ gpa: at, length, write: true }]);
function command(bytes: number[]): number {
  bench.vm.ram.write(0x180000, Buffer.from([...bytes, 0xee]));
  control.add([
    { gpa: 0x180000, length: 2 },
    ...(bytes.length > 2 ? [{ gpa: 0x180002, length: bytes.length - 2 }] : []),
    { gpa: 0x180000 + bytes.length, length: 1, write: true },
  ]);
  control.kick();
  expect(control.take()).toEqual([{ head: expect.any(Number), length: 1 }]);
  return bench.vm.ram.readU8(0x180000 + bytes.length)!;
}

test('address and link in the configuration', () => {
  const at = driver.address(4);
  expect(Array.from({ length: 6 }, (_, i) => Number(bench.vm.load(at + i, 1)))).toEqual([...MAC]);
  expect(Number(bench.vm.load(at + 6, 2))).toBe(1);
});

describe('guest to world', () => {
  test('the frame without its header', () => {
    transmit(frame(60));
    expect(net.sent).toEqual([frame(60)]);
    expect(tx.take()).toEqual([{ head: 0, length: 0 }]);
  });

  test('no room: it stays in the ring, in order, until there is', () => {
    net.full = true;
    transmit(frame(60, MAC, 1));
    transmit(frame(60, MAC, 2), 0x101000);
    expect([net.sent.length, tx.take().length]).toEqual([0, 0]);
    net.drain();
    expect(net.sent.map(f => f[20])).toEqual([1, 2]);
    expect(tx.take().length).toBe(2);
  });

  test('a runt is dropped, not sent', () => {
    transmit(Buffer.alloc(10));
    expect([net.sent.length, tx.take().length]).toEqual([0, 1]);
  });

  test('a flood leaves the main loop its turns', () => {
    start([...ALL, F.EVENT_IDX]);
    for (let i = 0; i < 12; i++) transmit(frame(60));
    expect(net.sent.length).toBe(12);
  });
});

describe('world to guest', () => {
  test('header with one buffer, then the frame', () => {
    buffer(0x120000, 2048);
    net.arrive(frame(100));
    expect(rx.take()).toEqual([{ head: 0, length: 112 }]);
    expect(bench.vm.ram.readU16(0x120000 + 10)).toBe(1);
    expect(bench.vm.ram.read(0x12000c, 100)!.equals(frame(100))).toBe(true);
  });

  test('a large frame over several buffers, visible together', () => {
    for (let i = 0; i < 4; i++) buffer(0x120000 + 0x1000 * i, 512);
    net.arrive(frame(1200));
    expect(rx.take().map(u => u.length)).toEqual([512, 512, 188]);
    expect(bench.vm.ram.readU16(0x120000 + 10)).toBe(3);
  });

  test('no buffer: the world keeps it, and a doorbell brings it', () => {
    net.arrive(frame(100));
    expect(net.waiting.length).toBe(1);
    buffer(0x120000, 2048);
    rx.kick();
    expect([net.waiting.length, rx.take().length]).toEqual([0, 1]);
  });

  test(
    'too few buffers: none is used up, and with event index a doorbell is asked for beyond ' +
      'them',
    () => {
      start([...ALL, F.EVENT_IDX]);
      buffer(0x120000, 512);
      net.arrive(frame(1200));
      expect([net.waiting.length, rx.take().length, rx.availEvent]).toEqual([1, 0, 1]);
      buffer(0x121000, 512);
      buffer(0x122000, 512);
      rx.kick();
      expect(rx.take().length).toBe(3);
    },
  );

  test('without mergeable buffers a frame that does not fit is dropped', () => {
    start(ALL.filter(f => f !== Feature.MRG_RXBUF));
    buffer(0x120000, 64);
    net.arrive(frame(100));
    expect([net.waiting.length, rx.take().length]).toEqual([0, 0]);
  });

  test('filters: foreign addresses only while promiscuous', () => {
    for (let i = 0; i < 8; i++) buffer(0x120000 + 0x1000 * i, 2048);
    const foreign = Buffer.from('020000000001', 'hex');
    const group = Buffer.from('01005e000001', 'hex');
    net.arrive(frame(60, foreign));
    expect(rx.take().length).toBe(1);
    expect(command([0, 0, 0])).toBe(0);
    net.arrive(frame(60, foreign));
    net.arrive(frame(60, group));
    expect(rx.take().length).toBe(0);
    net.arrive(frame(60));
    net.arrive(frame(60, Buffer.alloc(6, 0xff)));
    expect(rx.take().length).toBe(2);
    expect(command([1, 0, 1, 0, 0, 0, ...foreign, 1, 0, 0, 0, ...group])).toBe(0);
    net.arrive(frame(60, foreign));
    net.arrive(frame(60, group));
    expect(rx.take().length).toBe(2);
  });

  test('a buffer too small for the header breaks the device', () => {
    buffer(0x120000, 8);
    net.arrive(frame(60));
    expect(driver.status & 0x40).toBe(0x40);
  });
});

describe('control queue', () => {
  test('a new address', () => {
    expect(command([1, 1, 2, 0, 0, 0, 0, 9])).toBe(0);
    expect([Number(bench.vm.load(driver.address(4) + 5, 1)), net.nic!.mac[5]]).toEqual([9, 9]);
  });

  test('unknown commands and malformed tables are refused', () => {
    expect(command([9, 0])).toBe(1);
    expect(command([0, 0])).toBe(1);
    expect(command([1, 0, 200, 0, 0, 0])).toBe(1);
  });

  test('announce: status bit, configuration interrupt, acknowledged', () => {
    model.announce();
    expect(Number(bench.vm.load(driver.address(4) + 6, 2))).toBe(3);
    expect(bench.vm.messages.at(-1)!.data).toBe(0x43);
    expect(command([3, 0])).toBe(0);
    expect(Number(bench.vm.load(driver.address(4) + 6, 2))).toBe(1);
  });

  test('announce while stopped waits for the guest', async () => {
    await bench.device.pause();
    model.announce();
    expect([bench.vm.messages.length, model.readConfig().readUInt16LE(6)]).toEqual([0, 1]);
    bench.device.resume();
    expect(model.readConfig().readUInt16LE(6)).toBe(3);
    model.announce();
  });

  test('announce needs a driver that knows it', () => {
    start([Feature.MAC, Feature.STATUS]);
    model.announce();
    expect(Number(bench.vm.load(driver.address(4) + 6, 2))).toBe(1);
  });
});

test('paused: frames stay where they are, RAM does not change', async () => {
  buffer(0x120000, 2048);
  await bench.device.pause();
  expect(net.running).toBe(false);
  const before = bench.vm.ram.hash();
  net.arrive(frame(100));
  expect([net.waiting.length, bench.vm.ram.hash()]).toEqual([1, before]);
  transmit(frame(60));
  await settle();
  expect(net.sent).toEqual([]);
  bench.device.resume();
  expect([net.waiting.length, rx.take().length, net.sent.length]).toEqual([0, 1, 1]);
});
