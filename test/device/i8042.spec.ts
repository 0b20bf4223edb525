/**
 * Goal: a guest's driver finds a keyboard controller with a keyboard and a mouse as PCs have them,
 * and what people type and point at reaches it whole, or not at all. Method: the commands that
 * BIOSes and Linux's i8042, atkbd and psmouse send, by port.
 */
import { I8042 } from '../../src/hw/isa/i8042.js';
import { keyCode, keyNames, scanCodes } from '../../src/hw/input/key-codes.js';
import { InputRouter, type PointerChange } from '../../src/hw/input/router.js';
import { VmError } from '../../src/base/errors.js';
import { Bench } from '../support/device-bench.js';

const DATA = 0x60;
const STATUS = 0x64;
const FULL = 0x01;
const FROM_MOUSE = 0x20;

function controller() {
  const bench = new Bench();
  const irqs = { keyboard: bench.irqs.line(1), mouse: bench.irqs.line(12) };
  const chip = new I8042('i8042', bench.powerControl, irqs);
  const input = new InputRouter(bench.vm, bench.host);
  chip.attach(bench.bus.ports);
  chip.connect(input);
  chip.reset();
  chip.resume();
  bench.vm.running = true;
  const { vm } = bench;
  /** All that is there to be read, with the interrupt line of each byte. */
  const drain = () => {
    const bytes: string[] = [];
    for (let n = 0; n < 300 && (vm.in(STATUS) & FULL) !== 0; n++) {
      const line = (vm.in(STATUS) & FROM_MOUSE) !== 0 ? 'm' : 'k';
      expect([bench.level(1), bench.level(12)]).toEqual([line === 'k', line === 'm']);
      bytes.push(`${line}${vm.in(DATA).toString(16)}`);
    }
    expect([bench.level(1), bench.level(12)]).toEqual([false, false]);
    return bytes.join(' ');
  };
  const keyboard = (...bytes: number[]) => {
    for (const byte of bytes) vm.out(DATA, byte);
    return drain();
  };
  const mouse = (...bytes: number[]) => {
    for (const byte of bytes) {
      vm.out(STATUS, 0xd4);
      vm.out(DATA, byte);
    }
    return drain();
  };
  const command = (byte: number, data?: number) => {
    vm.out(STATUS, byte);
    if (data !== undefined) vm.out(DATA, data);
  };
  return { bench, chip, input, vm, drain, keyboard, mouse, command };
}
type Controller = ReturnType<typeof controller>;

/** Of a driver that wants both, with translation. */
function driven(): Controller {
  const it = controller();
  it.command(0x60, 0x43);
  it.mouse(0xf4);
  it.keyboard(0xf4);
  return it;
}

test('self tests and the mode byte', () => {
  const { command, vm, drain } = controller();
  command(0xaa);
  expect(vm.in(DATA)).toBe(0x55);
  command(0xab);
  expect(vm.in(DATA)).toBe(0);
  command(0xa9);
  expect(vm.in(DATA)).toBe(0);
  command(0x60, 0x65);
  command(0x20);
  expect(vm.in(DATA)).toBe(0x65);
  command(0xa7);
  command(0x20);
  expect(vm.in(DATA)).toBe(0x65 | 0x20);
  command(0xd3, 0x5a); // Linux's test of the line to the mouse
  expect(vm.in(STATUS) & FROM_MOUSE).toBe(FROM_MOUSE);
  expect(vm.in(DATA)).toBe(0x5a);
  expect(drain()).toBe('');
});

test('the keyboard is reset, says who it is, and takes its settings', () => {
  const { keyboard, command } = controller();
  expect(keyboard(0xff)).toBe('kfa kaa');
  expect(keyboard(0xf2)).toBe('kfa kab k41');
  expect(keyboard(0xed, 7, 0xf3, 0, 0xee)).toBe('kfa kfa kfa kfa kee');
  expect(keyboard(0xf0, 0)).toBe('kfa kfa k41');
  expect(keyboard(0xf0, 1, 0xf0, 0)).toBe('kfa kfa kfa kfa k1');
  expect(keyboard(0xf0, 3)).toBe('kfa kfe');
  expect(keyboard(0x99)).toBe('kfe');
  command(0x60, 0x01);
  expect(keyboard(0xf5, 0xf2)).toBe('kfa kfa kab k83');
});

test.each([
  [0x43, 'a', 'k1e k9e'],
  [0x43, 'right', 'ke0 k4d ke0 kcd'],
  [0x43, 'pause', 'ke1 k1d k45 ke1 k9d kc5'],
  [0x43, 'print', 'ke0 k2a ke0 k37 ke0 kb7 ke0 kaa'],
  [0x03, 'a', 'k1c kf0 k1c'],
  [0x03, 'ctrl_r', 'ke0 k14 ke0 kf0 k14'],
  [0x03, 'f7', 'k83 kf0 k83'],
  [0x03, 'pause', 'ke1 k14 k77 ke1 kf0 k14 kf0 k77'],
])('mode 0x%x: the key %s is %s', (mode, key, bytes) => {
  const { command, input, drain } = controller();
  command(0x60, mode);
  input.key(keyCode(key), true);
  input.key(keyCode(key), false);
  expect(drain()).toBe(bytes);
});

test('each name is a key that both sets can say', () => {
  for (const name of keyNames)
    for (const set of [1, 2] as const) expect(scanCodes(keyCode(name), true, set)).not.toEqual([]);
  expect(keyCode('0x1c')).toBe(keyCode('ret'));
  expect(() => keyCode('retrun')).toThrow(VmError);
  expect(() => keyCode('0x00')).toThrow(VmError);
});

test('a driver that does not read gets whole keys, and later ones when it reads again', () => {
  const { input, drain } = driven();
  for (let n = 0; n < 200; n++) input.key(keyCode('right'), true);
  const bytes = drain().split(' ');
  expect(bytes.length).toBeGreaterThan(30);
  expect(bytes.length % 2).toBe(0);
  expect(new Set(bytes)).toEqual(new Set(['ke0', 'k4d']));
  input.key(keyCode('a'), true);
  expect(drain()).toBe('k1e');
});

test('a wheel mouse is found by its three rates, and moves', () => {
  const { mouse, input, drain } = driven();
  expect(mouse(0xff)).toBe('mfa maa m0');
  expect(mouse(0xf2)).toBe('mfa m0');
  expect(mouse(0xf3, 200, 0xf3, 100, 0xf3, 80)).toBe('mfa mfa mfa mfa mfa mfa');
  expect(mouse(0xf2)).toBe('mfa m3');
  expect(mouse(0xe9)).toBe('mfa m0 m2 m50');
  expect(mouse(0xf4)).toBe('mfa');
  input.moveBy(3, 4);
  input.button('right', true);
  input.sync();
  expect(drain()).toBe('m2a m3 mfc m0');
  input.button('wheel-up', true);
  input.button('right', false);
  input.sync();
  expect(drain()).toBe('m8 m0 m0 mff');
  input.moveBy(-300, 0);
  input.sync();
  expect(drain()).toBe('m18 m1 m0 m0 m18 md3 m0 m0');
  input.sync();
  expect(drain()).toBe('');
});

test('in remote mode the mouse tells when it is asked', () => {
  const { mouse, input, drain } = driven();
  expect(mouse(0xf0)).toBe('mfa');
  input.moveBy(5, 0);
  input.sync();
  expect(drain()).toBe('');
  expect(mouse(0xeb)).toBe('mfa m8 m5 m0');
});

test('the reset line, by command and by the output port', () => {
  const { command, bench } = controller();
  command(0xfe);
  command(0xd1, 0x02);
  command(0xd1, 0x03);
  expect(bench.power).toEqual(['reset: keyboard controller', 'reset: keyboard controller']);
});

describe('who gets what', () => {
  const pointer = (ready: boolean, absolute: boolean) => {
    const moves: PointerChange[] = [];
    return { ready, absolute, moves, move: (change: PointerChange) => void moves.push(change) };
  };

  test('the newest device that its driver has set up', () => {
    const { input, drain } = driven();
    const tablet = pointer(true, true);
    input.addPointer(tablet);
    input.addPointer(pointer(false, false));
    expect(input.absolute).toBe(true);
    input.moveTo('x', 0x4000);
    input.moveTo('y', 0x9999);
    input.button('left', true);
    input.sync();
    expect(tablet.moves).toEqual([{ x: 0x4000, y: 0x7fff, dx: 0, dy: 0, wheel: 0, buttons: 1 }]);
    expect(drain()).toBe('');
  });

  test('what comes during a short pause comes after it, what is older is void', () => {
    const { input, chip, vm, bench, drain } = driven();
    vm.running = false;
    input.key(keyCode('b'), true);
    bench.host.advance(900);
    input.key(keyCode('a'), true);
    bench.host.advance(200);
    expect(drain()).toBe('');
    vm.running = true;
    chip.resume();
    bench.host.advance(0);
    expect(drain()).toBe('k1e');
  });

  test('what lets go is never void', () => {
    const { input, chip, vm, bench, drain } = driven();
    input.key(keyCode('a'), true);
    input.button('left', true);
    input.sync();
    drain();
    vm.running = false;
    input.key(keyCode('a'), false);
    input.button('left', false);
    input.sync();
    for (let n = 0; n < 300; n++) {
      input.moveBy(1, 0);
      input.sync();
    }
    bench.host.advance(5000);
    vm.running = true;
    chip.resume();
    bench.host.advance(0);
    expect(drain()).toBe('k9e m8 m0 m0');
  });

  test('a viewer that is gone holds no key down', () => {
    const { input, drain } = driven();
    input.key(keyCode('shift'), true);
    drain();
    input.releaseAll([keyCode('shift'), keyCode('a')]);
    expect(drain()).toBe('kaa');
  });
});
