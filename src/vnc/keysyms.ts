/**
 * X keysyms (X11's keysymdef.h) to the keys of an American keyboard. A character that needs Shift
 * is its key: the viewer has told of Shift by itself.
 */
import { keyCode } from '../hw/input/key-codes.js';

const PLAIN = "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./ " as const;
const SHIFTED = '~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:"ZXCVBNM<>? ' as const;
const NAMES =
  'grave_accent 1 2 3 4 5 6 7 8 9 0 minus equal q w e r t y u i o p bracket_left bracket_right ' +
  'backslash a s d f g h j k l semicolon apostrophe z x c v b n m comma dot slash spc';

const special: Readonly<Record<number, string>> = {
  0xff08: 'backspace',
  0xff09: 'tab',
  0xfe20: 'tab', // ISO_Left_Tab: what Shift makes of it
  0xff0d: 'ret',
  0xff13: 'pause',
  0xff14: 'scroll_lock',
  0xff15: 'sysrq',
  0xff1b: 'esc',
  0xff50: 'home',
  0xff51: 'left',
  0xff52: 'up',
  0xff53: 'right',
  0xff54: 'down',
  0xff55: 'pgup',
  0xff56: 'pgdn',
  0xff57: 'end',
  0xff61: 'print',
  0xff63: 'insert',
  0xff67: 'menu',
  0xff6b: 'pause',
  0xff7e: 'alt_r',
  0xff7f: 'num_lock',
  0xff8d: 'kp_enter',
  0xff95: 'kp_7',
  0xff96: 'kp_4',
  0xff97: 'kp_8',
  0xff98: 'kp_6',
  0xff99: 'kp_2',
  0xff9a: 'kp_9',
  0xff9b: 'kp_3',
  0xff9c: 'kp_1',
  0xff9d: 'kp_5',
  0xff9e: 'kp_0',
  0xff9f: 'kp_decimal',
  0xffaa: 'kp_multiply',
  0xffab: 'kp_add',
  0xffac: 'kp_comma',
  0xffad: 'kp_subtract',
  0xffae: 'kp_decimal',
  0xffaf: 'kp_divide',
  0xffe1: 'shift',
  0xffe2: 'shift_r',
  0xffe3: 'ctrl',
  0xffe4: 'ctrl_r',
  0xffe5: 'caps_lock',
  0xffe7: 'meta_l',
  0xffe8: 'meta_r',
  0xffe9: 'alt',
  0xffea: 'alt_r',
  0xfe03: 'alt_r',
  0xffeb: 'meta_l',
  0xffec: 'meta_r',
  0xffff: 'delete',
};

const codes = new Map<number, number>();
NAMES.split(' ').forEach((name, n) => {
  codes.set(PLAIN.charCodeAt(n), keyCode(name));
  codes.set(SHIFTED.charCodeAt(n), keyCode(name));
});
for (const [keysym, name] of Object.entries(special)) codes.set(Number(keysym), keyCode(name));
for (let n = 1; n <= 12; n++) codes.set(0xffbd + n, keyCode(`f${n}`));
for (let n = 0; n <= 9; n++) codes.set(0xffb0 + n, keyCode(`kp_${n}`));

/** undefined: no key of this keyboard. */
export const codeOfKeysym = (keysym: number): number | undefined => codes.get(keysym);
