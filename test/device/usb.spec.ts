/**
 * Goal: a tablet, a mouse and a keyboard on USB answer as USB and HID have it, tell all that people
 * do with them in order, and go on elsewhere at any point. Method: each on a controller on a board
 * without CPUs, with a driver, and hands on the input router. -device 'usb-tablet', 'usb-mouse',
 * 'usb-kbd'.
 */
import { describe, expect, test } from '@jest/globals';
import { keyCode } from '../../src/hw/input/key-codes.js';
import { Pid } from '../../src/hw/usb/contract.js';
import { UsbKeyboard } from '../../src/hw/usb/usb-keyboard.js';
import { UsbPointer } from '../../src/hw/usb/usb-pointer.js';
import { Random } from '../support/random.js';
import { UsbBench } from '../support/usb-bench.js';
import { request } from '../support/usb-driver.js';

type Kind = 'tablet' | 'mouse' | 'keyboard';
const AT = 5;

/** Set up by the driver, and asked once. */
function plugged(kind: Kind, { asked = true } = {}): UsbBench {
  const it = new UsbBench(clock =>
    kind === 'keyboard' ? new UsbKeyboard('kbd', clock) : new UsbPointer('pointer', kind, clock),
  );
  it.driver.start();
  it.driver.setUp(0, AT);
  if (asked) expect(it.driver.news(AT)).toBeUndefined();
  return it;
}

const reports = (it: UsbBench): number[][] => {
  const all: number[][] = [];
  for (let news = it.driver.news(AT); news; news = it.driver.news(AT)) all.push([...news]);
  return all;
};
const press = (it: UsbBench, ...keys: string[]) =>
  keys.forEach(key => it.input.key(keyCode(key.replace('!', '')), !key.endsWith('!')));

describe('what a device says of itself', () => {
  test.each<[Kind, string, number, number, number]>([
    ['tablet', 'USB Tablet', 0, 0, 8],
    ['mouse', 'USB Mouse', 1, 2, 4],
    ['keyboard', 'USB Keyboard', 1, 1, 8],
  ])('%s', (kind, product, subclass, protocol, packet) => {
    const { driver } = plugged(kind);
    const device = driver.ask(AT, 0x8006, 0x0100, 64)!;
    expect([device.length, device.readUInt16LE(2), device[7], device[17]]).toEqual([
      18, 0x0110, 8, 1,
    ]);
    const all = driver.ask(AT, 0x8006, 0x0200, 255)!;
    const report = driver.ask(AT, 0x8106, 0x2200, 255)!;
    expect([...all.subarray(0, 9)]).toEqual([9, 2, 34, 0, 1, 1, 0, 0xa0, 50]);
    expect([...all.subarray(9, 18)]).toEqual([9, 4, 0, 0, 1, 3, subclass, protocol, 0]);
    expect([...all.subarray(18, 27)]).toEqual([9, 0x21, 0x11, 1, 0, 1, 0x22, report.length, 0]);
    expect([...all.subarray(27)]).toEqual([7, 5, 0x81, 3, packet, 0, 10]);
    expect(driver.ask(AT, 0x8106, 0x2100, 9)).toEqual(all.subarray(18, 27));
    const text = (index: number) =>
      driver
        .ask(AT, 0x8006, 0x0300 + index, 255, 0x0409)
        ?.subarray(2)
        .toString('utf16le');
    expect([text(1), text(2), text(3)]).toEqual(['COLO', product, undefined]);
    expect([...driver.ask(AT, 0x8006, 0x0300, 255)!]).toEqual([4, 3, 9, 4]);
    expect(driver.ask(AT, 0x8006, 0x0100, 5)).toEqual(device.subarray(0, 5));
    expect(driver.ask(AT, 0x8006, 0x0600, 10)).toBeUndefined();
  });

  test.each<[Kind, number]>([
    ['tablet', 6 * 8],
    ['mouse', 4 * 8],
    ['keyboard', 8 * 8],
  ])('the report of a %s is as long as its description says', (kind, bits) => {
    const description = plugged(kind).driver.ask(AT, 0x8106, 0x2200, 255)!;
    let [size, count, sum, depth] = [0, 0, 0, 0];
    for (let at = 0; at < description.length; at++) {
      const [tag, value] = [description[at], description[at + 1]];
      if (tag === 0x75) size = value;
      if (tag === 0x95) count = value;
      if (tag === 0x81) sum += size * count;
      if (tag === 0xa1) depth++;
      if (tag === 0xc0) depth--;
      at += tag & 3;
    }
    expect([sum, depth]).toEqual([bits, 0]);
  });
});

test('standard requests: states that are set are read back', () => {
  const { driver, devices } = plugged('tablet');
  const ask = (code: number, length: number, index = 0) => [
    ...(driver.ask(AT, code, 0, length, index) ?? []),
  ];
  expect([ask(0x8008, 1), ask(0x810a, 1), ask(0x8000, 2), ask(0x8100, 2)]).toEqual([
    [1],
    [0],
    [0, 0],
    [0, 0],
  ]);
  expect(driver.order(AT, 0x0003, 1)).toBe(true);
  expect(ask(0x8000, 2)).toEqual([2, 0]);
  expect(driver.order(AT, 0x0001, 1)).toBe(true);
  expect(ask(0x8000, 2)).toEqual([0, 0]);
  expect(driver.order(AT, 0x0203, 0, 0x81)).toBe(true);
  expect([ask(0x8200, 2, 0x81), ask(0x8200, 2)]).toEqual([
    [1, 0],
    [0, 0],
  ]);
  const news = { pid: Pid.IN, address: AT, endpoint: 1, length: 8 };
  expect(driver.run([news])[0].control & 0x0040_0000).not.toBe(0);
  expect(driver.order(AT, 0x0201, 0, 0x81)).toBe(true);
  expect(driver.news(AT)).toBeUndefined();
  expect(driver.order(AT, 0x010b, 0)).toBe(true);
  for (const [code, value] of [
    [0x010b, 1],
    [0x0009, 2],
    [0x0003, 9],
    [0x0005, 128],
    [0x0042, 0],
  ])
    expect([code, driver.order(AT, code, value)]).toEqual([code, false]);
  expect(driver.order(AT, 0x0009, 0)).toBe(true);
  expect(driver.run([news])[0].control & 0x0040_0000).not.toBe(0);
  expect(devices[0].ready).toBe(false);
});

test('requests that are given up, cut short or out of turn leave the next one whole', () => {
  const it = plugged('keyboard');
  const { driver } = it;
  const to = { address: AT };
  const whole = () => expect(driver.ask(AT, 0x8006, 0x0100, 18)?.length).toBe(18);
  driver.run([{ ...to, pid: Pid.SETUP, data: request(0x8006, 0x0200, 0, 34) }]);
  driver.run([{ ...to, pid: Pid.IN, length: 8 }]);
  whole();
  driver.run([{ ...to, pid: Pid.SETUP, data: request(0x2109, 0x0200, 0, 2) }]);
  expect(driver.run([{ ...to, pid: Pid.IN, length: 0 }])[0].control & 0x0040_0000).not.toBe(0);
  whole();
  driver.run([{ ...to, pid: Pid.SETUP, data: request(0x2109, 0x0200, 0, 1) }]);
  const long = { ...to, pid: Pid.OUT, data: Buffer.alloc(8) };
  expect(driver.run([long])[0].control & 0x0040_0000).not.toBe(0);
  whole();
  expect(driver.order(AT, 0x2109, 0x0200, 0, Buffer.alloc(0))).toBe(true);
  driver.run([{ ...to, pid: Pid.SETUP, data: request(0x2109, 0x0200, 0, 0xffff) }]);
  expect(driver.run([long])[0].control & 0x0040_0000).not.toBe(0);
  driver.run([{ ...to, pid: Pid.SETUP, data: Buffer.alloc(3) }]);
  whole();
});

describe('a tablet', () => {
  test('takes positions once the guest asks for them, and says where the pointer is', () => {
    const it = plugged('tablet', { asked: false });
    expect([it.devices[0].ready, it.input.absolute]).toEqual([false, false]);
    it.driver.news(AT);
    expect([it.devices[0].ready, it.input.absolute]).toEqual([true, true]);
    it.input.moveTo('x', 0x1234);
    it.input.moveTo('y', 0x7fff);
    it.input.button('left', true);
    it.input.button('wheel-down', true);
    it.input.sync();
    expect(reports(it)).toEqual([[1, 0x34, 0x12, 0xff, 0x7f, 0xff]]);
    expect([...it.driver.ask(AT, 0xa101, 0x0100, 6)!]).toEqual([1, 0x34, 0x12, 0xff, 0x7f, 0]);
    it.driver.set(0, 0);
    expect(it.devices[0].ready).toBe(false);
  });

  test('keeps where a button went down and up; what is between is the last place', () => {
    const it = plugged('tablet');
    const at = (x: number, down: boolean) => {
      it.input.moveTo('x', x);
      it.input.button('left', down);
      it.input.sync();
    };
    for (let x = 0; x < 100; x++) at(x, false);
    at(100, true);
    for (let x = 101; x < 200; x++) at(x, true);
    at(200, false);
    at(201, false);
    at(202, false);
    expect(reports(it).map(([held, x]) => [held, x])).toEqual([
      [0, 99],
      [1, 100],
      [1, 199],
      [0, 200],
      [0, 202],
    ]);
  });

  test('forgets no release of a button, however much comes', () => {
    const it = plugged('tablet');
    for (let n = 0; n < 101; n++) {
      it.input.button('right', n % 2 === 0);
      it.input.sync();
    }
    it.input.button('right', false);
    it.input.sync();
    const all = reports(it);
    expect(all.length).toBeLessThanOrEqual(16);
    expect(all.at(-1)![0]).toBe(0);
  });
});

describe('a mouse', () => {
  test('tells ways, long ones in several reports, and none twice', () => {
    const it = plugged('mouse');
    expect(it.input.absolute).toBe(false);
    it.input.moveBy(200, -3);
    it.input.button('middle', true);
    it.input.sync();
    it.input.moveBy(1, 1);
    it.input.button('wheel-up', true);
    it.input.sync();
    expect(reports(it)).toEqual([
      [4, 127, 253, 0],
      [4, 73, 0, 0],
      [4, 1, 1, 1],
    ]);
    expect([...it.driver.ask(AT, 0xa101, 0x0100, 4)!]).toEqual([4, 0, 0, 0]);
  });

  test('for firmware has reports without a wheel', () => {
    const it = plugged('mouse');
    expect([...it.driver.ask(AT, 0xa103, 0, 1)!]).toEqual([1]);
    expect(it.driver.order(AT, 0x210b, 0)).toBe(true);
    expect([...it.driver.ask(AT, 0xa103, 0, 1)!]).toEqual([0]);
    it.input.moveBy(1, 2);
    it.input.sync();
    expect(reports(it)).toEqual([[0, 1, 2]]);
    expect(it.driver.order(AT, 0x210b, 2)).toBe(false);
  });
});

describe('a keyboard', () => {
  test('tells each press by itself, modifiers as bits, keys in the order of their presses', () => {
    const it = plugged('keyboard');
    press(it, 'shift', 'a', 'meta_r', 'b', 'a!', 'shift!', 'audioplay', 'b!');
    expect(reports(it).map(([held, , ...keys]) => [held, keys.filter(key => key)])).toEqual([
      [0x02, []],
      [0x02, [4]],
      [0x82, [4]],
      [0x82, [4, 5]],
      [0x82, [5]],
      [0x80, [5]],
      [0x80, []],
    ]);
  });

  test('says so when too many are held', () => {
    const it = plugged('keyboard');
    press(it, ...'abcdefg');
    expect(reports(it).at(-1)!.slice(2)).toEqual([1, 1, 1, 1, 1, 1]);
    press(it, 'a!');
    expect(reports(it).at(-1)!.slice(2)).toEqual([5, 6, 7, 8, 9, 10]);
  });

  test('loses no key that was let go while the guest did not ask', () => {
    const it = plugged('keyboard');
    press(it, 'ctrl', 'x');
    for (let n = 0; n < 100; n++) press(it, 'y', 'y!');
    press(it, 'x!', 'ctrl!');
    const all = reports(it);
    expect(all.length).toBeLessThanOrEqual(32);
    expect(all.at(-1)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('repeats its report as often as it is told; takes its lights', () => {
    const it = plugged('keyboard');
    expect(it.driver.order(AT, 0x210a, 0x1900)).toBe(true); // 100 ms
    expect([...it.driver.ask(AT, 0xa102, 0, 1)!]).toEqual([0x19]);
    it.advance(100);
    press(it, 'z');
    expect(it.driver.news(AT)![2]).toBe(0x1d);
    expect(it.driver.news(AT)).toBeUndefined();
    it.advance(110);
    expect([it.driver.end().active, it.driver.end().bytes[2]]).toEqual([false, 0x1d]);
    expect(it.driver.order(AT, 0x2109, 0x0200, 0, Buffer.of(0xff))).toBe(true);
    expect((it.devices[0].state as unknown as { leds: number }).leds).toBe(0x1f);
  });
});

test.each<Kind>(['tablet', 'mouse', 'keyboard'])(
  'a %s that stops for a checkpoint goes on elsewhere with what was not told',
  async kind => {
    const it = plugged(kind);
    const act = (b: UsbBench) => {
      b.input.moveTo('x', 9);
      b.input.moveBy(9, 0);
      b.input.sync();
      press(b, 'q');
    };
    act(it);
    const other = plugged(kind, { asked: false });
    await other.take(it);
    expect(it.devices[0].ready).toBe(true);
    expect(reports(it)).toEqual([]);
    const all = reports(other);
    expect(all).toHaveLength(1);
    expect(all[0].some(byte => byte === 9 || byte === 0x14)).toBe(true);
    act(other);
    expect(reports(other).length).toBe(1);
  },
);

test('one that is broken gives no answer until the machine is reset', () => {
  const it = plugged('tablet');
  const [device] = it.devices;
  device.onBroken = () => undefined;
  device.broke(new RangeError('planted'));
  expect(device.ready).toBe(false);
  expect(it.driver.ask(AT, 0x8006, 0x0100, 18)).toBeUndefined();
  it.driver.resetPort();
  expect(device.address).toBe(AT);
  device.reset();
  it.driver.setUp(0, AT);
  expect(it.driver.ask(AT, 0x8006, 0x0100, 18)?.length).toBe(18);
});

test.each<Kind>(['tablet', 'mouse', 'keyboard'])('no packet harms a %s', kind => {
  const it = plugged(kind);
  const [device] = it.devices;
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    for (let n = 0; n < 500; n++) {
      const data = Uint8Array.from({ length: random.below(3) ? 8 : random.below(64) }, () =>
        random.below(random.below(2) ? 16 : 256),
      );
      if (random.below(2)) data[0] = [0x80, 0x81, 0, 1, 2, 0x21, 0xa1][random.below(7)];
      device.transact([Pid.SETUP, Pid.IN, Pid.OUT][random.below(3)], random.below(3), data);
      it.input.moveTo('y', random.below(0x8000));
      it.input.moveBy(random.below(1000), -random.below(1000));
      it.input.sync();
      press(it, 'k', 'k!');
    }
    const { vmstate, state } = device;
    vmstate.parse(vmstate.save(state as never), vmstate.version);
  }
  expect(device.failure).toBeUndefined();
});
