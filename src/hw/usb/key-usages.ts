/** The router's keys (input/key-codes.ts) by their numbers on a USB keyboard (HID Usage Tables). */

const FIRST_MODIFIER = 0xe0;
const LAST_MODIFIER = 0xe7;

export const isModifier = (usage: number): boolean =>
  usage >= FIRST_MODIFIER && usage <= LAST_MODIFIER;

/** From a code of set 1 on, one usage after the other; 00: no such key. */
const row = (first: number, usages: string): [number, number][] =>
  usages.split(' ').map((hex, n) => [first + n, parseInt(hex, 16)]);

const byCode = new Map<number, number>([
  ...row(0x01, '29 1e 1f 20 21 22 23 24 25 26 27 2d 2e 2a 2b'),
  ...row(0x10, '14 1a 08 15 17 1c 18 0c 12 13 2f 30 28 e0'),
  ...row(0x1e, '04 16 07 09 0a 0b 0d 0e 0f 33 34 35 e1 31'),
  ...row(0x2c, '1d 1b 06 19 05 11 10 36 37 38 e5 55 e2 2c 39'),
  ...row(0x3b, '3a 3b 3c 3d 3e 3f 40 41 42 43 53 47'),
  ...row(0x47, '5f 60 61 56 5c 5d 5e 57 59 5a 5b 62 63 46'),
  ...row(0x56, '64 44 45'),
  ...row(0x70, '88 00 00 87'),
  ...row(0x79, '8a 00 8b 00 89 85'),
  ...row(0x9c, '58 e4'),
  ...row(0xa0, '7f'),
  ...row(0xae, '81 00 80'),
  ...row(0xb5, '54 00 46 e6'),
  ...row(0xc6, '48 4a 52 4b 00 50 00 4f 00 4d 51 4e 49 4c'),
  ...row(0xdb, 'e3 e7 65 66'),
]);

/** 0: a USB keyboard has no such key. */
export const keyUsage = (code: number): number => byCode.get(code) ?? 0;
