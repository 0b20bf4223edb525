/** The debug console: what is written is there at once or soon, in order, and never waits. */
import { beforeEach, expect, test } from '@jest/globals';
import { Debugcon } from '../../src/hw/isa/debugcon.js';
import { guestClock } from '../../src/hw/wiring.js';
import { IoPorts } from '../../src/memory/io-ports.js';
import { BenchClock, TestChar } from '../support/device-bench.js';
import { FakeRam } from '../support/fake-ram.js';
import { FakeVm } from '../support/fake-vm.js';

const PORT = 0x402;
let ports: IoPorts;
let chr: TestChar;
let host: BenchClock;
let device: Debugcon;

beforeEach(() => {
  const vm = new FakeVm(new FakeRam(1 << 20));
  ports = new IoPorts();
  chr = new TestChar();
  host = new BenchClock(vm);
  device = new Debugcon('log', chr, 0xe9, guestClock(vm, host));
  expect(device.attach(ports, PORT)).toBe(true);
  device.resume();
});

const say = (text: string): void => {
  for (const byte of Buffer.from(text)) ports.write(PORT, 1, byte);
};

test('a read says that the port is there', () => {
  expect(ports.read(PORT, 1)).toBe(0xe9);
  expect(device.attach(ports, PORT)).toBe(false);
});

test('bytes leave together a moment later, in order', () => {
  say('SeaBIOS ');
  say('(version)\n');
  expect(chr.written).toBe('');
  host.advance(1);
  expect(chr.written).toBe('SeaBIOS (version)\n');
  host.advance(1000);
  expect(chr.written).toBe('SeaBIOS (version)\n');
});

test('a stopped VM has said all that it wrote, and what comes while it stands is kept', async () => {
  say('before');
  await device.pause();
  expect([chr.written, host.armed]).toEqual(['before', 0]);
  say(' while');
  host.advance(1000);
  chr.drain();
  expect(chr.written).toBe('before');
  device.resume();
  expect(chr.written).toBe('before while');
});

test('a chardev without room keeps the first 4096 bytes, and the guest waits for nothing', () => {
  chr.full = true;
  say('x'.repeat(4000) + 'y'.repeat(4000));
  host.advance(1);
  expect(chr.written).toBe('');
  chr.full = false;
  chr.drain();
  expect(chr.written).toBe('x'.repeat(4000) + 'y'.repeat(96));
  say('z');
  host.advance(1);
  expect(chr.written.at(-1)).toBe('z');
});

test('a world that takes the log while more is written loses none of it', () => {
  say('x'.repeat(10_000));
  host.advance(1);
  expect(chr.written).toBe('x'.repeat(10_000));
});
