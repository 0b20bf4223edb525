/**
 * pc-testdev: its register and its memory hold what is written with any width, its ports set
 * interrupt lines, and its state says all of that.
 */
import { beforeEach, expect, test } from '@jest/globals';
import { PcTestdev } from '../../src/hw/isa/pc-testdev.js';
import { Bench } from '../support/device-bench.js';
import { FullBoard } from '../support/full-board.js';

let bench: Bench;
let device: PcTestdev;

function plugged(): [Bench, PcTestdev] {
  const on = new Bench();
  const chip = new PcTestdev('testdev0', gsi => on.irqs.line(gsi));
  expect(chip.attach(on.bus.ports, on.bus.mmio)).toBe(true);
  return [on, chip];
}

beforeEach(() => {
  [bench, device] = plugged();
});

test('its register is four bytes, whatever the width', () => {
  bench.vm.out(0xe0, 0x44332211, 4);
  bench.vm.out(0xe1, 0xaa);
  expect([1, 2, 4].map(size => bench.vm.in(0xe0, size))).toEqual([0x11, 0xaa11, 0x4433aa11]);
  bench.vm.out(0xe4, 0x1000, 4); // a page to forget: nothing that a guest could see
  expect(bench.vm.in(0xe0, 4)).toBe(0x4433aa11);
});

test('its memory answers as a device does, up to its last byte', () => {
  bench.vm.store(0xff000000, 0x88776655, 4);
  bench.vm.store(0xff00fffe, 0xbeef, 2);
  expect(bench.vm.load(0xff000001, 2)).toBe(0x7766n);
  expect(bench.vm.load(0xff00ffff, 1)).toBe(0xben);
  expect(bench.vm.load(0xff005000, 4)).toBe(0x88776655n); // its one page, over and over
});

test('its ports set interrupt lines, which follow from its state', () => {
  bench.vm.out(0x2000 + 5, 1);
  bench.vm.out(0x2000 + 23, 1);
  expect([bench.level(5), bench.level(23), bench.level(4)]).toEqual([true, true, false]);
  const [there, copy] = plugged();
  copy.state = device.state;
  copy.afterLoad();
  expect([there.level(5), there.level(23), there.level(4)]).toEqual([true, true, false]);
  bench.vm.out(0x2000 + 5, 0);
  expect(bench.level(5)).toBe(false);
  device.reset();
  expect(bench.level(23)).toBe(false);
});

test('a machine has one at most: -device pc-testdev', () => {
  expect(
    new PcTestdev('other', gsi => bench.irqs.line(gsi)).attach(bench.bus.ports, bench.bus.mmio),
  ).toBe(false);
  const board = new FullBoard().board;
  expect(board.bus.ports.list().some(({ name }) => name === 'testdev0')).toBe(true);
});
