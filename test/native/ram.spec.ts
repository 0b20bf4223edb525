/**
 * Goal: guest RAM does what its contract says, at its edges above all. Method: random operations
 * against plain models (bytes, a Set), on the addon's RAM and, for what both can do, on the fake
 * that device tests use.
 */
import fc from 'fast-check';
import type { Ram } from '../../src/accel/contract.js';
import { AddonRam } from '../../src/accel/ram.js';
import { FakeRam } from '../support/fake-ram.js';
import { heldPages } from '../support/held-pages.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SIZE = 64 * 4096;

const kinds: [string, () => Ram][] = [
  ['addon', () => new AddonRam(SIZE)],
  ['fake', () => new FakeRam(SIZE)],
];

describe.each(kinds)('%s', (_name, make) => {
  test('reads and writes are those of a byte array, and every write is in the dirty log', () => {
    const write = fc.record({
      gpa: fc.integer({ min: -10, max: SIZE + 10 }),
      bytes: fc.uint8Array({ maxLength: 9000 }),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 30 }), writes => {
        const ram = make();
        ram.dirtyLog.start();
        const model = Buffer.alloc(SIZE);
        const dirty = new Set<number>();
        for (const { gpa, bytes } of writes) {
          const inside = gpa >= 0 && gpa < SIZE && gpa + bytes.length <= SIZE;
          expect(ram.write(gpa, bytes)).toBe(inside);
          if (!inside) continue;
          model.set(bytes, gpa);
          for (let i = 0; i < bytes.length; i++) dirty.add((gpa + i) >> 12);
        }
        expect(ram.read(0, SIZE)!.equals(model)).toBe(true);
        expect(ram.dirtyLog.count()).toBe(dirty.size);
        const taken = ram.dirtyLog.take();
        expect([...taken]).toEqual([...dirty].sort((a, b) => a - b));
        ram.dirtyLog.restore(taken);
        expect(ram.dirtyLog.take()).toEqual(taken);
        expect(ram.dirtyLog.count()).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test('small accesses agree with bytes and refuse what is not RAM', () => {
    const ram = make();
    ram.write(0, Buffer.from('0123456789abcdef', 'hex'));
    expect(ram.readU8(1)).toBe(0x23);
    expect(ram.readU16(1)).toBe(0x4523);
    expect(ram.readU32(1)).toBe(0x89674523);
    expect(ram.readU64(0)).toBe(0xefcdab8967452301n);
    expect(ram.writeU32(8, -1)).toBe(true);
    expect(ram.writeU16(12, 0x12345)).toBe(true);
    expect(ram.writeU8(14, 0x1ff)).toBe(true);
    expect(ram.writeU64(16, -2n)).toBe(true);
    expect(ram.read(8, 16)!.toString('hex')).toBe('ffffffff4523ff00feffffffffffffff');
    for (const gpa of [SIZE - 1, SIZE, -1, 2 ** 52, Number.MAX_SAFE_INTEGER, NaN]) {
      expect(ram.readU16(gpa)).toBeUndefined();
      expect(ram.readU32(gpa)).toBeUndefined();
      expect(ram.readU64(gpa)).toBeUndefined();
      expect(ram.writeU16(gpa, 1)).toBe(false);
      expect(ram.writeU32(gpa, 1)).toBe(false);
      expect(ram.writeU64(gpa, 1n)).toBe(false);
      expect(ram.read(gpa, 2)).toBeUndefined();
      expect(ram.view(gpa, 2)).toBeUndefined();
      expect(ram.contains(gpa, 2)).toBe(false);
    }
  });

  test('gather and scatter move pages', () => {
    const [a, b] = [make(), make()];
    const pages = Uint32Array.of(0, 3, 63);
    pages.forEach(page => a.writeU32(page * 4096 + 4, page + 1));
    const bytes = new Uint8Array(3 * 4096);
    a.gather(pages, bytes);
    b.dirtyLog.start();
    b.scatter(pages, bytes);
    expect(b.dirtyLog.take()).toEqual(pages);
    expect(b.hash()).toBe(a.hash());
    b.writeU8(9, 1);
    expect(b.hash()).not.toBe(a.hash());
  });

  test('a view is live, and marks nothing until it is told to', () => {
    const ram = make();
    ram.dirtyLog.start();
    const view = ram.view(0x1000, 16)!;
    view[3] = 7;
    expect(ram.readU8(0x1003)).toBe(7);
    expect(ram.dirtyLog.count()).toBe(0);
    ram.markWritten(0x1000, 16);
    expect([...ram.dirtyLog.take()]).toEqual([1]);
  });
});

test('a large RAM has its hole at 3 GiB, and windows that join', () => {
  const ram = new AddonRam(5 * GIB);
  expect(ram.contains(3 * GIB - 1, 1)).toBe(true);
  expect(ram.contains(3 * GIB - 1, 2)).toBe(false);
  expect(ram.contains(4 * GIB - 1, 1)).toBe(false);
  expect(ram.contains(4 * GIB, 2 * GIB)).toBe(true);
  expect(ram.contains(6 * GIB - 1, 2)).toBe(false);
  for (const border of [GIB, 2 * GIB, 5 * GIB]) {
    expect(ram.view(border - 2, 4)).toBeUndefined();
    for (const gpa of [border - 1, border - 3, border - 7]) {
      expect(ram.writeU64(gpa, 0x1122334455667788n)).toBe(true);
      expect(ram.readU64(gpa)).toBe(0x1122334455667788n);
      expect(ram.writeU32(gpa, 0xdeadbeef)).toBe(true);
      expect(ram.readU32(gpa)).toBe(0xdeadbeef);
      expect(ram.writeU16(gpa, 0xabcd)).toBe(true);
      expect(ram.readU16(gpa)).toBe(0xabcd);
    }
    const bytes = Buffer.from('over the border');
    expect(ram.write(border - 5, bytes)).toBe(true);
    expect(ram.read(border - 5, bytes.length)).toEqual(bytes);
    expect(ram.fill(border - 5, bytes.length, 0)).toBe(true);
    expect(ram.read(border - 5, bytes.length)).toEqual(Buffer.alloc(bytes.length));
  }
  expect([...heldPages(ram)]).toEqual(
    [GIB, 2 * GIB, 4 * GIB].flatMap(at => [at / 4096 - 1, at / 4096]),
  );
  expect(ram.hash()).not.toBe(new AddonRam(5 * GIB).hash());
});

test("a card's memory is shown where it hides nothing: no memory, no chip of the machine", () => {
  const ram = new AddonRam(16 * MIB, 0, 16 * MIB);
  const maps: (readonly { gpa: number }[])[] = [];
  const setMap = (map: readonly { gpa: number }[]) => void maps.push(map);
  Object.defineProperty(ram, 'native', { value: { setMap } });
  ram.setMap([{ gpa: 0, size: 16 * MIB, offset: 0, readOnly: false }]);
  const shownAt = (gpa: number) => {
    ram.video!.map(gpa);
    return maps.at(-1)!.some(slot => slot.gpa === gpa && gpa > 0);
  };
  const chips = [0xfec00000, 0xfed00000, 0xfee00000];
  for (const free of [16 * MIB, 0xe0000000, 0xfec00000 - 16 * MIB, 4 * GIB])
    expect([free, shownAt(free)]).toEqual([free, true]);
  for (const taken of [8 * MIB, 0xfec00000 - 8 * MIB, ...chips, 4 * GIB - 16 * MIB])
    expect([taken, shownAt(taken)]).toEqual([taken, false]);
});

test('a wrong call is an exception, not a crash', () => {
  const ram = new AddonRam(MIB);
  expect(() => new AddonRam(100)).toThrow('multiple of 4096');
  expect(() => new AddonRam(-4096)).toThrow('not negative');
  expect(() => ram.gather(Uint32Array.of(256), new Uint8Array(4096))).toThrow('outside of RAM');
  expect(() => ram.gather(Uint32Array.of(0, 1), new Uint8Array(4096))).toThrow(
    '4096 bytes for each page',
  );
  expect(() => ram.scatter(new Float64Array(1) as never, new Uint8Array(4096))).toThrow(
    'Uint32Array',
  );
  expect(() => ram.markWritten(MIB - 1, 2)).toThrow('not RAM');
  expect(() => ram.dirtyLog.take()).toThrow('dirty log is on');
  expect(() => Reflect.apply(ram.native.hash, {}, [])).toThrow();
});
