/**
 * Keys of a PC's keyboard by the names that QEMU's monitor has for them (QKeyCode), and what the
 * keyboard sends for each: scan code set 1, where bit 7 stands for the prefix 0xe0.
 */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';

const row = (first: number, names: string): [string, number][] =>
  names.split(' ').map((name, n) => [name, first + n]);

/** The two that have sequences of their own. */
export const PAUSE = 0xc6;
export const PRINT = 0xb7;

const codes = new Map<string, number>([
  ...row(0x01, 'esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab'),
  ...row(0x10, 'q w e r t y u i o p bracket_left bracket_right ret ctrl'),
  ...row(0x1e, 'a s d f g h j k l semicolon apostrophe grave_accent shift backslash'),
  ...row(0x2c, 'z x c v b n m comma dot slash shift_r asterisk alt spc caps_lock'),
  ...row(0x3b, 'f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock'),
  ...row(0x47, 'kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal'),
  ['sysrq', 0x54],
  ['less', 0x56],
  ['f11', 0x57],
  ['f12', 0x58],
  ['kp_multiply', 0x37],
  ['katakanahiragana', 0x70],
  ['ro', 0x73],
  ['henkan', 0x79],
  ['muhenkan', 0x7b],
  ['yen', 0x7d],
  ['kp_comma', 0x7e],
  ['kp_enter', 0x9c],
  ['ctrl_r', 0x9d],
  ['kp_divide', 0xb5],
  ['print', PRINT],
  ['alt_r', 0xb8],
  ['pause', PAUSE],
  ...row(0xc7, 'home up pgup'),
  ['left', 0xcb],
  ['right', 0xcd],
  ...row(0xcf, 'end down pgdn insert delete'),
  ...row(0xdb, 'meta_l meta_r menu'),
  ['audioprev', 0x90],
  ['audionext', 0x99],
  ['audiomute', 0xa0],
  ['calculator', 0xa1],
  ['audioplay', 0xa2],
  ['audiostop', 0xa4],
  ['volumedown', 0xae],
  ['volumeup', 0xb0],
  ['power', 0xde],
  ['sleep', 0xdf],
  ['wake', 0xe3],
]);

const otherNames: Readonly<Record<string, string>> = { kp_asterisk: 'kp_multiply' };

export const keyNames = [...codes.keys()];

/** VmError: no such key. `0x1c` is a code as it is. */
export function keyCode(name: string): number {
  const code = codes.get(otherNames[name] ?? name);
  if (code !== undefined) return code;
  const raw = /^0x([0-9a-f]{1,2})$/i.exec(name);
  if (raw && parseInt(raw[1], 16) > 0) return parseInt(raw[1], 16);
  throw new VmError(`'${name}' is no key.${didYouMean(name, keyNames)}`);
}

/** Set 2 by set 1 (the translation that an 8042 does, backwards). */
const SET_2_FROM_1 =
  '76 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d 15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a ' +
  '14 1c 1b 23 2b 34 33 3b 42 4b 4c 52 0e 12 5d 1a 22 21 2a 32 31 3a 41 49 4a 59 7c 11 ' +
  '29 58 05 06 04 0c 03 0b 83 0a 01 09 77 7e 6c 75 7d 7b 6b 73 74 79 69 72 7a 70 71 84 ' +
  '60 61 78 07 0f 17 1f 27 2f 37 3f 47 4f 56 5e 08 10 18 20 28 30 38 40 48 50 57 6f 13 ' +
  '19 39 51 53 5c 5f 62 63 64 65 67 68 6a 6d 6e';
const setTwo = SET_2_FROM_1.split(' ').map(hex => parseInt(hex, 16));

export const setTwoOf = (code: number): number => setTwo[(code & 0x7f) - 1] ?? 0;

const printKey = {
  set1: { down: [0xe0, 0x2a, 0xe0, 0x37], up: [0xe0, 0xb7, 0xe0, 0xaa] },
  set2: { down: [0xe0, 0x12, 0xe0, 0x7c], up: [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12] },
} as const;
const pauseKey = {
  set1: [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
  set2: [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
} as const;

/** The bytes that a keyboard sends. */
export function scanCodes(code: number, down: boolean, set: 1 | 2): readonly number[] {
  const kind = set === 1 ? 'set1' : 'set2';
  if (code === PRINT) return printKey[kind][down ? 'down' : 'up'];
  if (code === PAUSE) return down ? pauseKey[kind] : [];
  const prefix = (code & 0x80) !== 0 ? [0xe0] : [];
  const base = code & 0x7f;
  if (set === 1) return [...prefix, down ? base : base | 0x80];
  const two = setTwoOf(base);
  if (two === 0) return [];
  return down ? [...prefix, two] : [...prefix, 0xf0, two];
}
