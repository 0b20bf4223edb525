/**
 * The two devices behind an 8042: a keyboard and a mouse with a wheel (IBM PS/2 Hardware Interface
 * Technical Reference, "Keyboard" and "Auxiliary device"; Microsoft's IntelliMouse adds the wheel
 * to a mouse that was told three rates).
 */
import { blob, bool8, i32, record, u8 } from '../../fields/field.js';
import { scanCodes } from '../input/key-codes.js';
import type { PointerChange } from '../input/router.js';

/** What a device keeps for a guest that does not read; answers find room behind it. */
const EVENT_BYTES = 64;
const QUEUE_BYTES = EVENT_BYTES + 16;

/** Of a way that is not told yet. */
const MAX_WAY = 0x7fff;

const ACK = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;

const queue = blob(QUEUE_BYTES);

export const keyboardField = record({
  queue,
  scanning: bool8,
  set: u8.range(1, 2).initially(2),
  leds: u8.mask(7),
  rate: u8,
  /** The command whose argument comes next. */
  command: u8,
});
export const mouseField = record({
  queue,
  reporting: bool8,
  remote: bool8,
  wrap: bool8,
  twoToOne: bool8,
  resolution: u8.range(0, 3).initially(2),
  rate: u8.initially(100),
  /** 0: three buttons, 3: a wheel. */
  kind: u8,
  /** The two rates before this one. */
  rates: record({ before: u8, last: u8 }),
  command: u8,
  dx: i32.range(-MAX_WAY, MAX_WAY),
  dy: i32.range(-MAX_WAY, MAX_WAY),
  wheel: i32.range(-MAX_WAY, MAX_WAY),
  buttons: u8.mask(7),
});
type KeyboardState = ReturnType<typeof keyboardField.reset>;
type MouseState = ReturnType<typeof mouseField.reset>;

function put(s: { queue: Buffer }, ...bytes: number[]): void {
  if (s.queue.length + bytes.length <= QUEUE_BYTES) s.queue = Buffer.from([...s.queue, ...bytes]);
}

/** An event is there whole or not at all. */
function event(s: { queue: Buffer }, bytes: readonly number[]): boolean {
  if (bytes.length === 0 || s.queue.length + bytes.length > EVENT_BYTES) return false;
  put(s, ...bytes);
  return true;
}

export function takeByte(s: { queue: Buffer }): number {
  const [first] = s.queue;
  s.queue = Buffer.from(s.queue.subarray(1));
  return first;
}

// --- keyboard

/** translated: the controller makes set 1 of set 2. */
export function pressKey(s: KeyboardState, code: number, down: boolean, translated: boolean): void {
  if (s.scanning) event(s, scanCodes(code, down, translated || s.set === 1 ? 1 : 2));
}

function keyboardDefaults(s: KeyboardState): void {
  s.queue = Buffer.alloc(0);
  s.set = 2;
  s.rate = 0x2b;
  s.command = 0;
}

export function writeKeyboard(s: KeyboardState, value: number, translated: boolean): void {
  const command = s.command;
  s.command = 0;
  if (command !== 0 && value < 0xed) return keyboardArgument(s, command, value, translated);
  switch (value) {
    case 0xed: // LEDs
    case 0xf0: // scan code set
    case 0xf3: // rate and delay
      s.command = value;
      return put(s, ACK);
    case 0xee:
      return put(s, 0xee);
    case 0xf2:
      return put(s, ACK, 0xab, translated ? 0x41 : 0x83);
    case 0xf4:
      s.queue = Buffer.alloc(0);
      s.scanning = true;
      return put(s, ACK);
    case 0xf5:
    case 0xf6:
      keyboardDefaults(s);
      s.scanning = value === 0xf6;
      return put(s, ACK);
    case 0xff:
      keyboardDefaults(s);
      s.leds = 0;
      s.scanning = true;
      return put(s, ACK, SELF_TEST_PASSED);
    default:
      return put(s, RESEND);
  }
}

function keyboardArgument(
  s: KeyboardState,
  command: number,
  value: number,
  translated: boolean,
): void {
  if (command === 0xed) s.leds = value & 7;
  if (command === 0xf3) s.rate = value & 0x7f;
  if (command !== 0xf0) return put(s, ACK);
  if (value === 0) return put(s, ACK, translated && s.set === 2 ? 0x41 : s.set);
  if (value !== 1 && value !== 2) return put(s, RESEND);
  s.set = value;
  put(s, ACK);
}

// --- mouse

const clamp = (value: number, limit: number) => Math.max(-limit, Math.min(value, limit));

export function moveMouse(s: MouseState, change: PointerChange): void {
  const { dx, dy, wheel, buttons } = change;
  s.dx = clamp(s.dx + dx, MAX_WAY);
  s.dy = clamp(s.dy - dy, MAX_WAY);
  s.wheel = clamp(s.wheel - wheel, MAX_WAY);
  const pressed = buttons !== s.buttons;
  s.buttons = buttons & 7;
  if (!s.reporting || s.remote) return;
  // A way that is longer than a packet can say takes several; one without news is none.
  for (let n = 0; (n === 0 && pressed) || s.dx !== 0 || s.dy !== 0 || s.wheel !== 0; n++) {
    if (s.kind !== 3) s.wheel = 0;
    if (!event(s, packet(s))) return;
    told(s);
  }
}

function packet(s: MouseState): number[] {
  const dx = clamp(s.dx, 255);
  const dy = clamp(s.dy, 255);
  const signs = (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0);
  const bytes = [0x08 | signs | s.buttons, dx & 0xff, dy & 0xff];
  return s.kind === 3 ? [...bytes, clamp(s.wheel, 7) & 0xff] : bytes;
}

function told(s: MouseState): void {
  s.dx -= clamp(s.dx, 255);
  s.dy -= clamp(s.dy, 255);
  s.wheel -= s.kind === 3 ? clamp(s.wheel, 7) : s.wheel;
}

function mouseDefaults(s: MouseState): void {
  s.queue = Buffer.alloc(0);
  s.rate = 100;
  s.resolution = 2;
  s.twoToOne = s.reporting = s.remote = s.wrap = false;
  s.rates.before = s.rates.last = 0;
  s.dx = s.dy = s.wheel = 0;
}

export function writeMouse(s: MouseState, value: number): void {
  const command = s.command;
  s.command = 0;
  if (s.wrap && value !== 0xff && value !== 0xec) return put(s, value);
  if (command !== 0) return mouseArgument(s, command, value);
  switch (value) {
    case 0xe6:
    case 0xe7:
      s.twoToOne = value === 0xe7;
      return put(s, ACK);
    case 0xe8: // resolution
    case 0xf3: // rate
      s.command = value;
      return put(s, ACK);
    case 0xe9:
      return put(s, ACK, status(s), s.resolution, s.rate);
    case 0xea:
    case 0xf0:
      s.remote = value === 0xf0;
      return put(s, ACK);
    case 0xeb:
      put(s, ACK, ...packet(s));
      return told(s);
    case 0xec:
    case 0xee:
      s.wrap = value === 0xee;
      return put(s, ACK);
    case 0xf2:
      return put(s, ACK, s.kind);
    case 0xf4:
    case 0xf5:
      s.reporting = value === 0xf4;
      s.dx = s.dy = s.wheel = 0;
      return put(s, ACK);
    case 0xf6:
      mouseDefaults(s);
      return put(s, ACK);
    case 0xff:
      mouseDefaults(s);
      s.kind = 0;
      return put(s, ACK, SELF_TEST_PASSED, 0);
    default:
      return put(s, RESEND);
  }
}

function mouseArgument(s: MouseState, command: number, value: number): void {
  if (command === 0xe8) s.resolution = value & 3;
  if (command === 0xf3) {
    const { rates } = s;
    if (rates.before === 200 && rates.last === 100 && value === 80) s.kind = 3;
    rates.before = rates.last;
    rates.last = s.rate = value;
  }
  put(s, ACK);
}

/** Of 0xe9: its bits of the buttons are in another order. */
const status = (s: MouseState): number =>
  (s.remote ? 0x40 : 0) |
  (s.reporting ? 0x20 : 0) |
  (s.twoToOne ? 0x10 : 0) |
  ((s.buttons & 1) << 2) |
  ((s.buttons & 4) >> 1) |
  ((s.buttons & 2) >> 1);
