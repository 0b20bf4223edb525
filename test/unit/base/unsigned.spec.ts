/**
 * Masks and widths never give a negative number. Method: the values around each sign bit, against
 * BigInt.
 */
import { expect, test } from '@jest/globals';
import { allOnes, and32, lowBytes, or32, without32 } from '../../../src/base/unsigned.js';

const values = [
  0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7f_ffff, 0x80_0000, 0x7fff_ffff, 0x8000_0000,
  0xffff_ffff,
];

test.each([1, 2, 3, 4])('the low %i bytes of a value, signed or not', size => {
  for (const value of values) {
    const right = Number(BigInt.asUintN(8 * size, BigInt(value)));
    expect([lowBytes(value, size), lowBytes(value | 0, size)]).toEqual([right, right]);
  }
  expect(allOnes(size)).toBe(256 ** size - 1);
});

test('and, or, and-not are those of 32 unsigned bits', () => {
  for (const a of values) {
    for (const b of values) {
      const [x, y] = [BigInt(a), BigInt(b)];
      expect([and32(a, b), or32(a, b), without32(a, b)]).toEqual(
        [x & y, x | y, BigInt.asUintN(32, x & ~y)].map(Number),
      );
    }
  }
});
