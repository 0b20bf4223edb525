/**
 * The UART against the PC16550D data sheet: registers, interrupt priorities, FIFO trigger and
 * timeout, loopback, back-pressure, pause.
 */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Serial, serialState } from '../../src/hw/char/serial.js';
import { Bench, TestChar } from '../support/device-bench.js';

const COM1 = 0x3f8;
const IRQ = 4;
let bench: Bench;
let chr: TestChar;
let uart: Serial;
const out = (register: number, value: number) => bench.vm.out(COM1 + register, value);
const inb = (register: number) => bench.vm.in(COM1 + register);

beforeEach(() => {
  bench = new Bench();
  chr = new TestChar();
  uart = new Serial('serial0', bench.irqs.line(IRQ), chr, bench.clock);
  uart.attach(bench.bus.ports, COM1);
  uart.resume();
  out(4, 0x0b); // DTR, RTS, OUT2: open, and interrupts reach the PIC
});

describe('registers', () => {
  test('divisor latch hides behind DLAB', () => {
    out(3, 0x80);
    out(0, 0x01);
    out(1, 0x02);
    expect([inb(0), inb(1)]).toEqual([0x01, 0x02]);
    out(3, 0x03);
    expect(inb(1)).toBe(0);
  });

  test('scratch keeps its value; a word access is two bytes', () => {
    out(7, 0xa5);
    expect(inb(7)).toBe(0xa5);
    expect(bench.vm.in(COM1 + 6, 2)).toBe(0xa5b0);
  });

  test('idle line: transmitter empty, no interrupt, no FIFO', () => {
    expect(inb(5)).toBe(0x60);
    expect(inb(2)).toBe(0x01);
    out(2, 0x01);
    expect(inb(2)).toBe(0xc1);
  });
});

describe('transmitter', () => {
  test('characters leave together after a moment', () => {
    for (const c of 'login: ') out(0, c.charCodeAt(0));
    expect(chr.written).toBe('');
    bench.host.advance(1);
    expect(chr.written).toBe('login: ');
  });

  test('THRE interrupts when enabled and after each character; reading IIR clears it', () => {
    out(1, 0x02);
    expect(bench.level(IRQ)).toBe(true);
    expect(inb(2)).toBe(0x02);
    expect(bench.level(IRQ)).toBe(false);
    out(0, 0x41);
    expect(inb(2)).toBe(0x02);
    expect(inb(2)).toBe(0x01);
  });

  test('a chardev without room makes it busy, and loses nothing', () => {
    chr.full = true;
    out(0, 0x41);
    bench.host.advance(1);
    expect(inb(5) & 0x60).toBe(0);
    out(0, 0x42);
    chr.drain();
    bench.host.advance(1);
    expect(inb(5) & 0x60).toBe(0x60);
    expect(chr.written).toBe('AB');
  });

  test('a stop hands over what was gathered; what the world does not take is saved', async () => {
    out(0, 0x41);
    await uart.pause();
    expect(chr.written).toBe('A');
    uart.resume();
    chr.full = true;
    out(0, 0x42);
    await uart.pause();
    uart.beforeSave();
    expect(uart.state.tx.toString()).toBe('B');
    uart.afterLoad();
    chr.full = false;
    uart.resume();
    expect(chr.written).toBe('AB');
  });
});

describe('receiver', () => {
  test('without FIFO one character interrupts', () => {
    out(1, 0x01);
    chr.type('x');
    expect(bench.level(IRQ)).toBe(true);
    expect(inb(2)).toBe(0x04);
    expect(inb(5) & 1).toBe(1);
    expect(inb(0)).toBe(0x78);
    expect(bench.level(IRQ)).toBe(false);
    expect(inb(5) & 1).toBe(0);
  });

  test(
    'with FIFO the trigger level interrupts, and a lonely character after four character ' +
      'times',
    () => {
      out(2, 0x41); // trigger 4
      out(1, 0x01);
      chr.type('abc');
      expect(bench.level(IRQ)).toBe(false);
      bench.host.advance(10);
      expect(inb(2)).toBe(0xcc);
      inb(0);
      expect(bench.level(IRQ)).toBe(false);
      chr.type('de');
      expect(inb(2)).toBe(0xc4);
    },
  );

  test('a full FIFO holds the world back until the guest reads', () => {
    out(2, 0x01);
    chr.type('0123456789abcdefghij');
    expect(chr.paused).toBe(true);
    const seen = Array.from({ length: 20 }, () => String.fromCharCode(inb(0))).join('');
    expect(seen).toBe('0123456789abcdefghij');
    expect(chr.paused).toBe(false);
  });

  test('FCR clears it', () => {
    out(2, 0x01);
    chr.type('abc');
    out(2, 0x03);
    expect(inb(5) & 1).toBe(0);
  });

  test('more than can be kept is an overrun, shown once, above all other causes', () => {
    out(1, 0x05);
    chr.type('x'.repeat(70_000));
    expect(inb(2)).toBe(0x06);
    expect(inb(5) & 0x02).toBe(0x02);
    expect(inb(5) & 0x02).toBe(0);
    expect(inb(2)).toBe(0x04);
  });

  test('a break is a zero byte and a line status, shown once', () => {
    out(1, 0x05);
    chr.sendBreak();
    expect(inb(2)).toBe(0x06);
    expect(inb(5) & 0x11).toBe(0x11);
    expect(inb(5) & 0x11).toBe(0x01);
    expect(inb(0)).toBe(0);
    expect(inb(5) & 0x01).toBe(0);
  });
});

test('loopback: modem outputs come back, characters too, and the line is silent', () => {
  out(4, 0x1b);
  expect(inb(6) & 0xf0).toBe(0xb0 & 0xf0);
  out(4, 0x10);
  expect(inb(6) & 0xf0).toBe(0);
  out(0, 0x55);
  expect(inb(0)).toBe(0x55);
  bench.host.advance(5);
  expect(chr.written).toBe('');
});

test('without OUT2 nothing reaches the PIC', () => {
  out(1, 0x02);
  out(4, 0);
  expect(bench.level(IRQ)).toBe(false);
});

test('paused: no timer, no character', async () => {
  out(2, 0x41);
  chr.type('a');
  await uart.pause();
  expect(bench.host.armed).toBe(0);
  expect(chr.paused).toBe(true);
});

test('a state with impossible fields is refused by name', () => {
  const good = serialState.save(serialState.reset());
  good[0] = 0xff;
  expect(() => serialState.parse(good, 1)).toThrow('isa-serial: ier: 0xff has bits outside of 0xf');
});
