/**
 * Goal: what is typed before the guest opens a serial port reaches it. Method: the chip with a
 * chardev that holds what it may not deliver, and drivers as they are: Linux' opens with its FIFO
 * resets, a firmware that polls, a small system with interrupts that never heard of RTS.
 */
import { beforeEach, expect, test } from '@jest/globals';
import { Serial, serialState } from '../../src/hw/char/serial.js';
import { Bench, TestChar } from '../support/device-bench.js';

const COM1 = 0x3f8;
const Reg = { DATA: 0, IER: 1, IIR: 2, FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6 } as const;

/** A peer with more to say than it is allowed to. */
class Typist extends TestChar {
  private left = '';

  say(text: string): void {
    this.left += text;
    this.push();
  }
  /** What the guest has not let in. */
  get waiting(): number {
    return this.left.length;
  }
  override resume(): void {
    super.resume();
    this.push();
  }
  private push(): void {
    while (!this.paused && this.left !== '') {
      const piece = this.left.slice(0, 1000);
      this.left = this.left.slice(piece.length);
      this.type(piece);
    }
  }
}

let bench: Bench;
let chr: Typist;
let uart: Serial;
const out = (register: number, value: number) => bench.vm.out(COM1 + register, value);
const inb = (register: number) => bench.vm.in(COM1 + register);

beforeEach(() => {
  bench = new Bench();
  chr = new Typist();
  uart = new Serial('serial0', bench.irqs.line(4), chr, bench.clock);
  uart.attach(bench.bus.ports, COM1);
  uart.resume();
});

/** An interrupt handler: reads while there is data. */
function drain(): string {
  let text = '';
  while ((inb(Reg.LSR) & 1) !== 0) text += String.fromCharCode(inb(Reg.DATA));
  return text;
}

function clearFifos(): void {
  for (const value of [0x01, 0x07, 0x00]) out(Reg.FCR, value);
}

/**
 * What Linux' 8250 driver does to the registers: probing at boot, printing as a console, opening,
 * closing.
 */
const linux = {
  probe() {
    out(Reg.IER, 0);
    out(Reg.MCR, 0x1a); // loopback, RTS, OUT2: is there a chip?
    inb(Reg.MSR);
    out(Reg.MCR, 0x00);
    clearFifos();
    inb(Reg.DATA);
    out(Reg.MCR, 0x01); // a console keeps DTR
  },
  print(text: string) {
    out(Reg.IER, 0);
    for (const c of text) {
      while ((inb(Reg.LSR) & 0x60) !== 0x60);
      out(Reg.DATA, c.charCodeAt(0));
    }
    inb(Reg.LSR);
    out(Reg.IER, 0);
  },
  open() {
    clearFifos();
    [Reg.LSR, Reg.DATA, Reg.IIR, Reg.MSR].forEach(inb);
    inb(Reg.LSR); // is it still there
    inb(Reg.LSR); // the test of its THRE interrupt waits for an idle transmitter
    out(Reg.IER, 0x02);
    inb(Reg.IIR);
    out(Reg.IER, 0);
    out(Reg.LCR, 0x03);
    out(Reg.MCR, 0x09); // OUT2
    [Reg.LSR, Reg.DATA, Reg.IIR, Reg.MSR].forEach(inb);
    out(Reg.IER, 0x05); // receiver and line status, and only then the FIFO
    out(Reg.LCR, 0x83);
    out(Reg.DATA, 0x01);
    out(Reg.IER, 0x00);
    out(Reg.LCR, 0x13);
    out(Reg.FCR, 0x01);
    out(Reg.FCR, 0x81);
    out(Reg.MCR, 0x0b); // and RTS
  },
  close() {
    out(Reg.MCR, 0x00);
    out(Reg.IER, 0);
    clearFifos();
    inb(Reg.DATA);
  },
};

test('typed before Linux opens the port, in the middle of its opening, and after', () => {
  chr.say('early ');
  linux.probe();
  for (let i = 0; i < 100; i++) linux.print('[    0.000000] a line of the kernel\n');
  bench.host.advance(10_000);
  chr.say('birds ');
  linux.open();
  chr.say('sing');
  expect(drain()).toBe('early birds sing');
});

test('typed while the port is closed between two who open it', () => {
  linux.probe();
  linux.open();
  chr.say('first');
  expect(drain()).toBe('first');
  linux.close();
  chr.say('second');
  bench.host.advance(10_000);
  linux.open();
  expect(drain()).toBe('second');
});

test('a paste of any size waits with its sender, and comes whole', () => {
  const paste = Array.from({ length: 20_000 }, (_, i) => String.fromCharCode(0x20 + (i % 95))).join(
    '',
  );
  linux.probe();
  chr.say(paste);
  expect(chr.waiting).toBe(19_000);
  linux.open();
  let text = '';
  for (let part = drain(); part !== ''; part = drain()) text += part;
  expect(text).toBe(paste);
  expect(inb(Reg.LSR) & 0x02).toBe(0); // nothing was overrun
});

test(
  'a guest that does not read holds its sender up, and a cleared FIFO loses what is in it ' +
    'alone',
  () => {
    linux.open();
    chr.say('0123456789abcdef'.repeat(200));
    expect(chr.waiting).toBe(2200);
    out(Reg.FCR, 0x83);
    let text = '';
    for (let part = drain(); part !== ''; part = drain()) text += part;
    expect(text.length).toBe(3200 - 16);
  },
);

test('a firmware that polls without RTS and without interrupts reads everything', () => {
  chr.say('typed ahead');
  let text = '';
  for (let i = 0; i < 1000; i++)
    if ((inb(Reg.LSR) & 1) !== 0) text += String.fromCharCode(inb(Reg.DATA));
  expect(text).toBe('typed ahead');
});

test('a small system with the receiver interrupt and without RTS reads everything', () => {
  chr.say('typed ahead');
  out(Reg.FCR, 0x01);
  out(Reg.MCR, 0x08);
  out(Reg.IER, 0x01);
  expect(bench.level(4)).toBe(false);
  bench.host.advance(60);
  expect(bench.level(4)).toBe(true);
  chr.say(', and later');
  expect(drain()).toBe('typed ahead, and later');
});

test('in loopback nothing of the world comes in', () => {
  chr.say('x');
  out(Reg.MCR, 0x1b);
  for (let i = 0; i < 100; i++) expect(inb(Reg.LSR) & 1).toBe(0);
  out(Reg.MCR, 0x0b);
  expect(drain()).toBe('x');
});

test('what waits goes with a checkpoint, stays over a reset, and an older state brings its own', async () => {
  chr.say('a'.repeat(100));
  await uart.pause();
  uart.beforeSave();
  const saved = serialState.save(uart.state);
  expect(serialState.parse(saved, 2).line.toString()).toBe('a'.repeat(100));
  uart.reset();
  uart.resume();
  linux.open();
  expect(drain().length).toBe(100);

  const old = serialState.parse(saved.subarray(0, saved.length - 104), 1);
  uart.state = { ...old, rx: Buffer.from('b'.repeat(500)), mcr: 0x0b };
  uart.afterLoad();
  expect([uart.state.rx.length, uart.state.line.length]).toEqual([16, 484]);
  expect(drain()).toBe('b'.repeat(500));
});

test('a FIFO of more than 16 beside a line is no state of ours', () => {
  const state = { ...serialState.reset(), rx: Buffer.alloc(17), line: Buffer.alloc(1) };
  expect(() => serialState.parse(serialState.save(state), 2)).toThrow(
    'isa-serial: rx: 17 bytes in a FIFO of 16',
  );
});
