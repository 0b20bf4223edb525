/**
 * How the bytes of reports are to be read (HID 1.11, sections 5.4 and 6.2.2, appendices B and E;
 * HID Usage Tables: pages Generic Desktop, Keyboard, LED and Button).
 */
import { ABSOLUTE_MAX } from '../input/router.js';

const Page = { DESKTOP: 0x01, KEYS: 0x07, LEDS: 0x08, BUTTONS: 0x09 } as const;
const Usage = {
  POINTER: 0x01,
  MOUSE: 0x02,
  KEYBOARD: 0x06,
  X: 0x30,
  Y: 0x31,
  WHEEL: 0x38,
} as const;
const Collection = { PHYSICAL: 0, APPLICATION: 1 } as const;
const Data = { CONSTANT: 1, ARRAY: 0, ABSOLUTE: 2, RELATIVE: 6 } as const;

const one = (tag: number) => (value: number) => [tag, value & 0xff];
const page = one(0x05);
const usage = one(0x09);
const usageMin = one(0x19);
const usageMax = one(0x29);
const min = one(0x15);
const max = one(0x25);
const wideMax = (value: number) => [0x26, value & 0xff, value >> 8];
const physicalMin = one(0x35);
const physicalMax = one(0x45);
const widePhysicalMax = (value: number) => [0x46, value & 0xff, value >> 8];
const bits = one(0x75);
const count = one(0x95);
const input = one(0x81);
const output = one(0x91);
const begin = one(0xa1);
const END = [0xc0];

/** Three buttons, and five bits to fill the byte. */
const buttons = [
  ...[page(Page.BUTTONS), usageMin(1), usageMax(3), min(0), max(1)],
  ...[count(3), bits(1), input(Data.ABSOLUTE)],
  ...[count(1), bits(5), input(Data.CONSTANT)],
];
const axes = (...how: number[][]) => [
  ...[page(Page.DESKTOP), usage(Usage.X), usage(Usage.Y), ...how],
];
const wheel = [
  ...[usage(Usage.WHEEL), min(-127), max(127), physicalMin(0), physicalMax(0)],
  ...[bits(8), count(1), input(Data.RELATIVE)],
];
const pointer = (...axis: number[][]) =>
  Buffer.from(
    [
      ...[page(Page.DESKTOP), usage(Usage.MOUSE), begin(Collection.APPLICATION)],
      ...[usage(Usage.POINTER), begin(Collection.PHYSICAL)],
      ...[...buttons, ...axis, ...wheel, END, END],
    ].flat(),
  );

/** A byte of buttons, X and Y in two bytes each, a byte of the wheel. */
export const tabletReport = pointer(
  ...axes(
    ...[min(0), wideMax(ABSOLUTE_MAX), physicalMin(0), widePhysicalMax(ABSOLUTE_MAX)],
    ...[bits(16), count(2), input(Data.ABSOLUTE)],
  ),
);

/** A byte each: buttons, X, Y, wheel. The first three are what firmware knows. */
export const mouseReport = pointer(
  ...axes(min(-127), max(127), bits(8), count(2), input(Data.RELATIVE)),
);

/** A byte of modifiers, one that is zero, and up to six keys; to it, a byte of lights. */
export const keyboardReport = Buffer.from(
  [
    ...[page(Page.DESKTOP), usage(Usage.KEYBOARD), begin(Collection.APPLICATION)],
    ...[page(Page.KEYS), usageMin(0xe0), usageMax(0xe7), min(0), max(1)],
    ...[bits(1), count(8), input(Data.ABSOLUTE)],
    ...[bits(8), count(1), input(Data.CONSTANT)],
    ...[page(Page.LEDS), usageMin(1), usageMax(5), bits(1), count(5), output(Data.ABSOLUTE)],
    ...[bits(3), count(1), output(Data.CONSTANT)],
    ...[page(Page.KEYS), usageMin(0), usageMax(0xff), min(0), wideMax(0xff)],
    ...[bits(8), count(6), input(Data.ARRAY), END],
  ].flat(),
);
