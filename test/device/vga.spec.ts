/**
 * Goal: a guest's text and pixels are what the screen shows, by the registers of a VGA and of
 * Bochs' extension, and a mad guest harms nothing. Method: the modes as a BIOS or bochs-drm sets
 * them, the window as programs write to it, pictures compared pixel by pixel. -device 'VGA'.
 */
import { Vga } from '../../src/hw/display/vga.js';
import { newPainter, type Surface } from '../../src/hw/display/surface.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { Bench } from '../support/device-bench.js';
import type { FakeRam } from '../support/fake-ram.js';
import { Random } from '../support/random.js';

const DISPI = 0x1ce;
const BANK_OFF = 0x3ce;

function card() {
  const bench = new Bench();
  const { vm, bus } = bench;
  const { video } = vm.ram as FakeRam;
  const pci = new PciBus(bus.ports, bus.mmio, bench.irqs);
  const vga = new Vga('vga', video, bench.clock, Buffer.of(0x55, 0xaa, 4));
  pci.plug(vga);
  vga.attach(bus.ports, bus.mmio);
  const indexed = (port: number, values: readonly number[]) =>
    values.forEach((value, index) => {
      vm.out(port, index);
      vm.out(port + 1, value);
    });
  const attribute = (index: number, value: number) => {
    vm.in(0x3da);
    vm.out(0x3c0, index);
    vm.out(0x3c0, value);
  };
  const dispi = (index: number, value: number) => {
    vm.out(DISPI, index, 2);
    vm.out(DISPI + 1, value, 2);
  };
  const readDispi = (index: number) => {
    vm.out(DISPI, index, 2);
    return vm.in(DISPI + 1, 2);
  };
  const color = (index: number, red: number, green: number, blue: number) => {
    vm.out(0x3c8, index);
    for (const part of [red, green, blue]) vm.out(0x3c9, part);
  };
  const show = () => {
    vm.in(0x3da);
    vm.out(0x3c0, 0x20);
  };
  const painter = newPainter();
  const paint = () => vga.paint(painter);
  return { bench, vm, vga, video, pci, indexed, attribute, dispi, readDispi, color, show, paint };
}
type Card = ReturnType<typeof card>;

const dot = ({ pixels, width }: Surface, x: number, y: number) =>
  pixels[y * width + x].toString(16).padStart(6, '0');

/** Mode 3 with 2 columns more than the window of this test needs: 80x25 cells of 9x16. */
function textMode(it: Card): void {
  const { vm, indexed, attribute, color, show } = it;
  vm.out(0x3c2, 0x67);
  indexed(0x3c4, [3, 0, 3, 0, 2]);
  const crtc = new Array<number>(25).fill(0);
  Object.assign(crtc, { 1: 79, 7: 0x1f, 9: 0x4f, 10: 0x0e, 11: 0x0f, 14: 0, 15: 1, 18: 0x8f });
  Object.assign(crtc, { 19: 40, 23: 0xa3, 24: 0xff });
  indexed(0x3d4, crtc);
  indexed(0x3ce, [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff]);
  for (let n = 0; n < 16; n++) {
    attribute(n, n);
    color(n, n === 7 ? 42 : 0, n === 2 ? 63 : 0, n === 1 ? 63 : 0);
  }
  attribute(0x10, 0x0c);
  attribute(0x12, 0x0f);
  show();
}

/** The glyph of a character: plane 2, as a BIOS loads it. */
function loadGlyph(it: Card, character: number, rows: readonly number[]): void {
  it.indexed(0x3c4, [3, 0, 4, 0, 6]);
  it.indexed(BANK_OFF, [0, 0, 0, 0, 2, 0, 4, 0, 0xff]);
  rows.forEach((row, y) => it.vm.store(0xa0000 + character * 32 + y, row, 1));
  it.indexed(0x3c4, [3, 0, 3, 0, 2]);
  it.indexed(BANK_OFF, [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff]);
}

test('text: the glyph that the guest loaded, its colours, and the cursor', () => {
  const it = card();
  textMode(it);
  loadGlyph(it, 0x41, [0x80, 0x01]);
  loadGlyph(it, 0xc4, [0xff]);
  it.vm.store(0xb8000, 0x1241, 2); // A, green on blue
  it.vm.store(0xb8002, 0x07c4, 2);
  expect(it.vm.load(0xb8000, 2)).toBe(0x1241n);
  const { surface } = it.paint();
  expect([surface.width, surface.height]).toEqual([720, 400]);
  expect([0, 1, 8].map(x => dot(surface, x, 0))).toEqual(['00ff00', '0000ff', '0000ff']);
  expect(dot(surface, 7, 1)).toBe('00ff00');
  // A line goes on into the ninth column.
  expect([9, 16, 17].map(x => dot(surface, x, 0))).toEqual(['aa0000', 'aa0000', 'aa0000']);
  expect(dot(surface, 18, 0)).toBe('000000');
  // The cursor is in the second cell, rows 14 and 15.
  expect([13, 14, 15].map(y => dot(surface, 9, y))).toEqual(['000000', 'aa0000', 'aa0000']);
});

test('only what changed is told', () => {
  const it = card();
  textMode(it);
  loadGlyph(it, 0x41, [0xff]);
  it.paint();
  expect(it.paint().changed).toEqual([]);
  it.vm.store(0xb8000 + 2 * (80 * 3 + 5), 0x0741, 2);
  expect(it.paint().changed).toEqual([{ x: 45, y: 48, width: 9, height: 16 }]);
  loadGlyph(it, 0x41, [0x0f]);
  expect(it.paint().changed).toEqual([{ x: 0, y: 0, width: 720, height: 400 }]);
});

test('a cursor of another shape is drawn anew', () => {
  const it = card();
  textMode(it);
  it.vm.store(0xb8002, 0x07c4, 2);
  const shape = (first: number, last: number) => {
    for (const [index, value] of [
      [10, first],
      [11, last],
    ]) {
      it.vm.out(0x3d4, index);
      it.vm.out(0x3d5, value);
    }
    const { surface, changed } = it.paint();
    return { changed, line8: dot(surface, 9, 8) };
  };
  expect(shape(1, 7).line8).toBe('000000');
  expect(shape(1, 15)).toEqual({
    changed: [{ x: 9, y: 0, width: 9, height: 16 }],
    line8: 'aa0000',
  });
  expect(shape(1, 15).changed).toEqual([]);
});

/** 1024x768 or what was asked, as bochs-drm sets it. */
function linear(it: Card, width: number, height: number, bpp: number): void {
  it.vm.out(0x3c2, 0x67);
  it.dispi(4, 0);
  it.dispi(1, width);
  it.dispi(2, height);
  it.dispi(3, bpp);
  it.dispi(4, 0x41);
  it.show();
}

test.each([
  [32, [0x44, 0x33, 0x22, 0x11], '223344'],
  [24, [0x44, 0x33, 0x22], '223344'],
  [16, [0x1f, 0xf8], 'ff00ff'],
  [15, [0xe0, 0x03], '00ff00'],
  [8, [5], '0000ff'],
])('a linear mode of %i bits', (bpp, bytes, shown) => {
  const it = card();
  linear(it, 320, 200, bpp);
  it.color(5, 0, 0, 63);
  const at = (10 * 320 + 7) * ((bpp + 7) >> 3);
  const bar = 0xfe00_0000;
  it.pci.firmwareSetup();
  bytes.forEach((byte, n) => it.vm.store(bar + at + n, byte, 1));
  const { surface } = it.paint();
  expect([surface.width, surface.height]).toEqual([320, 200]);
  expect(dot(surface, 7, 10)).toBe(shown);
  expect(dot(surface, 8, 10)).toBe('000000');
  expect(it.video.marked).toBeGreaterThan(0);
});

test('VBE: identity, capabilities, and sizes that fit the memory', () => {
  const it = card();
  expect(it.readDispi(0)).toBe(0xb0c5);
  expect(it.readDispi(10)).toBe(16); // of 64 KiB
  it.dispi(4, 2);
  expect([1, 2, 3].map(it.readDispi)).toEqual([2560, 1600, 32]);
  linear(it, 0xffff, 0xffff, 32);
  expect([1, 2].map(it.readDispi)).toEqual([2560, 102]);
  it.dispi(9, 0xffff);
  expect(it.readDispi(9)).toBe(0);
  it.dispi(1, 640); // not while it is on
  expect(it.readDispi(1)).toBe(2560);
  expect(it.paint().surface.width).toBe(2560);
});

test('VBE: a page is turned by its offset, and a new mode is clear', () => {
  const it = card();
  linear(it, 320, 200, 32);
  it.video.bytes.fill(0xff, 320 * 4 * 200, 320 * 4 * 201);
  expect(dot(it.paint().surface, 0, 0)).toBe('000000');
  it.dispi(9, 200);
  expect(dot(it.paint().surface, 0, 0)).toBe('ffffff');
  linear(it, 320, 201, 32);
  expect(dot(it.paint().surface, 0, 200)).toBe('000000');
});

test('VBE by the registers of bar 2, and the window as a bank', () => {
  const it = card();
  it.pci.firmwareSetup();
  const registers = it.vga.barAddress(2)!;
  expect(it.vm.load(registers + 0x500, 2)).toBe(0xb0c5n);
  it.vm.store(registers + 0x502, 640, 2);
  expect(it.readDispi(1)).toBe(640);
  expect(it.vm.load(registers + 0x604, 4)).toBe(0x1e1e1e1en);
  it.vm.store(registers + 0x400 + 2, 0x67, 1); // 0x3c2
  expect(it.vm.in(0x3cc)).toBe(0x67);
  linear(it, 640, 400, 8);
  it.indexed(0x3c4, [3, 0, 0x0f, 0, 0x0e]);
  it.indexed(0x3ce, [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff]);
  it.dispi(5, 2);
  it.vm.store(0xa0010, 0x77, 1);
  expect(it.video.bytes[0x20010]).toBe(0x77);
});

describe('four planes', () => {
  function planes(): Card {
    const it = card();
    it.vm.out(0x3c2, 0xe3);
    it.indexed(0x3c4, [3, 1, 0x0f, 0, 0x06]);
    it.indexed(0x3ce, [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff]);
    const crtc = new Array<number>(25).fill(0);
    Object.assign(crtc, { 1: 79, 7: 0x3e, 9: 0x40, 18: 0xdf, 19: 40, 23: 0xe3, 24: 0xff });
    it.indexed(0x3d4, crtc);
    for (let n = 0; n < 16; n++) {
      it.attribute(n, n);
      it.color(n, n * 4, 0, 0);
    }
    it.attribute(0x12, 0x0f);
    it.show();
    return it;
  }
  const graphics = (it: Card, index: number, value: number) => {
    it.vm.out(0x3ce, index);
    it.vm.out(0x3cf, value);
  };

  test('640x480 in sixteen colours, by write mode 2 and the bit mask', () => {
    const it = planes();
    graphics(it, 5, 2);
    graphics(it, 8, 0x40);
    it.vm.load(0xa0000, 1);
    it.vm.store(0xa0000, 0x0a, 1);
    const { surface } = it.paint();
    expect([surface.width, surface.height]).toEqual([640, 480]);
    expect([0, 1, 2].map(x => dot(surface, x, 0))).toEqual(['000000', 'a20000', '000000']);
  });

  test('latches are copied, combined, set, and compared', () => {
    const it = planes();
    it.vm.store(0xa0000, 0xf0, 1);
    it.vm.load(0xa0000, 1);
    graphics(it, 5, 1);
    it.vm.store(0xa0004, 0, 1);
    expect([...it.video.bytes.subarray(16, 20)]).toEqual([0xf0, 0xf0, 0xf0, 0xf0]);
    graphics(it, 5, 0);
    graphics(it, 3, 0x18); // exclusive or
    it.vm.store(0xa0000, 0xff, 1);
    expect(it.video.bytes[0]).toBe(0x0f);
    graphics(it, 3, 0);
    graphics(it, 0, 0x05);
    graphics(it, 1, 0x0f);
    it.vm.store(0xa0001, 0, 1);
    expect([...it.video.bytes.subarray(4, 8)]).toEqual([0xff, 0, 0xff, 0]);
    graphics(it, 5, 8);
    graphics(it, 2, 0x05);
    expect(it.vm.load(0xa0001, 1)).toBe(0xffn);
    graphics(it, 2, 0x04);
    expect(it.vm.load(0xa0001, 1)).toBe(0n);
  });
});

test('mode 13h: 320x200 in 256 colours, each of them four dots', () => {
  const it = card();
  it.vm.out(0x3c2, 0x63);
  it.indexed(0x3c4, [3, 1, 0x0f, 0, 0x0e]);
  it.indexed(0x3ce, [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff]);
  const crtc = new Array<number>(25).fill(0);
  Object.assign(crtc, { 1: 79, 7: 0x1f, 9: 0x41, 18: 0x8f, 19: 40, 20: 0x40, 23: 0xa3, 24: 0xff });
  it.indexed(0x3d4, crtc);
  it.color(200, 63, 0, 0);
  it.show();
  it.vm.store(0xa0000 + 320 * 3 + 9, 200, 1);
  const { surface } = it.paint();
  expect([surface.width, surface.height]).toEqual([640, 400]);
  expect([17, 18, 19, 20].map(x => dot(surface, x, 6))).toEqual([
    '000000',
    'ff0000',
    'ff0000',
    '000000',
  ]);
  expect([5, 7, 8].map(y => dot(surface, 18, y))).toEqual(['000000', 'ff0000', '000000']);
});

test('CRTC registers can be locked, the DAC counts through, status toggles 0x3c0', () => {
  const it = card();
  it.vm.out(0x3c2, 0x67);
  it.vm.out(0x3d4, 0x11);
  it.vm.out(0x3d5, 0x80);
  it.vm.out(0x3d4, 1);
  it.vm.out(0x3d5, 77);
  expect(it.vm.in(0x3d5)).toBe(0);
  it.color(255, 1, 2, 3);
  it.color(0, 4, 5, 6);
  it.vm.out(0x3c7, 255);
  expect(Array.from({ length: 6 }, () => it.vm.in(0x3c9))).toEqual([1, 2, 3, 4, 5, 6]);
  it.vm.out(0x3c2, 0x66); // monochrome: the CRTC is elsewhere
  expect(it.vm.in(0x3d5)).toBe(0xff);
  expect(it.vm.in(0x3b5)).toBe(0);
});

test('the ROM is where the guest puts it, while it is enabled', () => {
  const it = card();
  it.vga.configWrite(0x30, 4, 0xffff_ffff);
  expect(it.vga.configRead(0x30, 4)).toBe(0xffff_f801);
  it.vga.configWrite(0x30, 4, 0xfeb0_0001);
  it.vga.configWrite(4, 2, 2);
  expect(it.vm.load(0xfeb0_0000, 4)).toBe(0xff04aa55n);
  it.vga.configWrite(0x30, 4, 0xfeb0_0000);
  expect(it.vm.load(0xfeb0_0000, 4)).toBe(0xffffffffn);
});

test('the memory is shown to processors where bar 0 is', () => {
  const it = card();
  it.pci.firmwareSetup();
  expect(it.video.at).toBe(it.vga.barAddress(0));
  it.vga.configWrite(4, 2, 0);
  expect(it.video.at).toBeUndefined();
});

test.each([1, 2, 3])('seed %i: whatever its registers say, there is a picture', seed => {
  const it = card();
  const random = new Random(seed);
  const { bytes } = it.video;
  for (let i = 0; i < bytes.length; i += 7) bytes[i] = random.below(256);
  it.pci.firmwareSetup();
  for (let n = 0; n < 150; n++) {
    for (let i = 0; i < 40; i++) {
      it.vm.out(0x3b4 + random.below(0x28), random.below(256));
      if (random.below(4) === 0) it.dispi(random.below(12), random.below(0x10000));
      it.vm.store(0xa0000 + random.below(0x20000), random.below(256), 1);
    }
    if (random.below(2) === 0) it.show();
    const { surface, changed } = it.paint();
    expect(surface.pixels).toHaveLength(surface.width * surface.height);
    for (const r of changed) {
      expect(r.x >= 0 && r.y >= 0 && r.width > 0 && r.height > 0).toBe(true);
      expect(r.x + r.width <= surface.width && r.y + r.height <= surface.height).toBe(true);
    }
  }
});
