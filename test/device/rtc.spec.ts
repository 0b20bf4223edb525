/**
 * The clock chip against the MC146818 data sheet: BCD time from the host, setting it, update and
 * alarm and periodic interrupts, CMOS sizes.
 */
import { beforeEach, expect, test } from '@jest/globals';
import { Mc146818Rtc } from '../../src/hw/rtc/mc146818rtc.js';
import { Bench } from '../support/device-bench.js';

let bench: Bench;
let rtc: Mc146818Rtc;
const read = (register: number) => {
  bench.vm.out(0x70, register);
  return bench.vm.in(0x71);
};
const write = (register: number, value: number) => {
  bench.vm.out(0x70, register);
  bench.vm.out(0x71, value);
};
const time = () => [0x32, 9, 8, 7, 4, 2, 0].map(read);

beforeEach(() => {
  bench = new Bench();
  rtc = new Mc146818Rtc('rtc', bench.irqs.line(8), bench.clock, { low: 256 << 20, high: 0 });
  rtc.attach(bench.bus.ports);
  rtc.resume();
});

test('shows the host wall time in BCD', () => {
  expect(time()).toEqual([0x20, 0x26, 0x11, 0x22, 0x20, 0x30, 0x00]);
  expect(read(6)).toBe(1); // a Sunday
  bench.host.advance(61_000);
  expect(time().slice(5)).toEqual([0x31, 0x01]);
});

test('binary and 12-hour formats', () => {
  write(0x0b, 0x06);
  expect(read(7)).toBe(22);
  write(0x0b, 0x00);
  expect(read(4)).toBe(0x88); // 8 pm
});

test('the clock runs on from what the guest sets, and survives a reset', () => {
  write(0x0b, 0x82);
  const frozen = read(0);
  bench.host.advance(3000);
  expect(read(0)).toBe(frozen);
  for (const [register, value] of [
    [0x32, 0x20],
    [9, 0x30],
    [8, 0x01],
    [7, 0x02],
    [4, 0x03],
    [2, 0x04],
    [0, 0x05],
  ])
    write(register, value);
  write(0x0b, 0x02);
  expect(time()).toEqual([0x20, 0x30, 0x01, 0x02, 0x03, 0x04, 0x05]);
  bench.host.advance(10_000);
  rtc.reset();
  expect(time()).toEqual([0x20, 0x30, 0x01, 0x02, 0x03, 0x04, 0x15]);
});

test('update in progress is announced just before the second turns', () => {
  expect(read(0x0a)).toBe(0x26);
  bench.host.advance(999.9);
  expect(read(0x0a) & 0x80).toBe(0x80);
  bench.host.advance(0.2);
  expect(read(0x0a) & 0x80).toBe(0);
});

test('update-ended interrupt each second until register C is read', () => {
  write(0x0b, 0x12);
  bench.host.advance(1001);
  expect(bench.level(8)).toBe(true);
  expect(read(0x0c) & 0xb0).toBe(0x90);
  expect(bench.level(8)).toBe(false);
  bench.host.advance(1000);
  expect(bench.level(8)).toBe(true);
});

test('alarm at a given time, with wildcards', () => {
  for (const [register, value] of [
    [1, 0x03],
    [3, 0xff],
    [5, 0xff],
  ])
    write(register, value);
  write(0x0b, 0x22);
  bench.host.advance(2500);
  expect(bench.level(8)).toBe(false);
  bench.host.advance(1000);
  expect(bench.level(8)).toBe(true);
  expect(read(0x0c) & 0x20).toBe(0x20);
});

test('periodic interrupt at 1024 Hz; missed ticks are one', () => {
  write(0x0b, 0x42);
  bench.host.advance(1);
  expect(bench.level(8)).toBe(true);
  expect(read(0x0c)).toBe(0xc0);
  bench.host.advance(100);
  expect(read(0x0c) & 0x40).toBe(0x40);
  expect(read(0x0c) & 0x40).toBe(0);
});

test('memory size bytes and free CMOS', () => {
  expect(read(0x15) | (read(0x16) << 8)).toBe(640);
  expect(read(0x34) | (read(0x35) << 8)).toBe((256 - 16) * 16);
  write(0x50, 0x77);
  expect(read(0x50)).toBe(0x77);
  expect(read(0x0d)).toBe(0x80);
});

test('paused: no timer; after it the missed interrupt is raised', async () => {
  write(0x0b, 0x12);
  await rtc.pause();
  expect(bench.host.armed).toBe(0);
  bench.host.advance(5000);
  expect(bench.level(8)).toBe(false);
  rtc.resume();
  expect(bench.level(8)).toBe(true);
});
