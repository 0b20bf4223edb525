/** Goal: the overlay in memory gives back what was written, knows what it holds, and keeps to its bound. Method: unit cases and a flat model. */
import fc from 'fast-check';
import { MemoryDriver } from '../../../src/block/drivers/memory.js';
import { BlockNode } from '../../../src/block/node.js';
import { expectSame, pattern } from '../../support/block-host.js';

const overlayOver = (length: number, maxBytes = 1 << 20) => {
  const base = new BlockNode('base', new MemoryDriver({ size: length, maxBytes: 1 << 20, readOnly: false }));
  return { base, top: new MemoryDriver({ maxBytes, readOnly: false }, base) };
};

test('holds, reads through, clears', async () => {
  const { base, top } = overlayOver(16384);
  await base.pwrite(0, pattern(16384));
  await top.pwrite(4608, pattern(512, 7));
  expect([top.holds(4608, 512), top.holds(4096, 1024), top.holds(0, 512)]).toEqual([true, false, false]);
  expectSame(await top.pread(4096, 1024), Buffer.concat([pattern(16384).subarray(4096, 4608), pattern(512, 7)]));
  expect(top.bytes).toBe(4096);
  top.clear();
  expect([top.empty, top.bytes]).toEqual([true, 0]);
  expectSame(await top.pread(0, 16384), pattern(16384));
});

test('zeroes hide the backing and cost nothing', async () => {
  const { base, top } = overlayOver(65536, 4096);
  await base.pwrite(0, pattern(65536));
  await top.writeZeroes(512, 65024);
  expect(top.bytes).toBe(0);
  expectSame(await top.pread(512, 65024), Buffer.alloc(65024));
  expect([...top.extents(1 << 20)].map(({ offset, length, data }) => [offset, length, data])).toEqual([[512, 65024, undefined]]);
});

test('at the bound nothing of the write is taken', async () => {
  const { top } = overlayOver(65536, 8192);
  await top.pwrite(0, pattern(4096));
  await expect(top.pwrite(4096, pattern(8192))).rejects.toThrow('would pass its bound of 8192 bytes');
  expect(top.holds(4096, 4096)).toBe(false);
  await top.pwrite(0, pattern(4096, 2));
});

test('sizes: one is needed, and it must be the backing\'s', () => {
  expect(() => new MemoryDriver({ maxBytes: 1, readOnly: false })).toThrow('needs a backing node or a size');
  const { base } = overlayOver(4096);
  expect(() => new MemoryDriver({ maxBytes: 1, size: 512, readOnly: false }, base)).toThrow('size 512 is not that of its backing node, 4096');
});

test('against a flat model; extents are exactly what differs from the backing', async () => {
  const length = 40 * 512;
  const step = fc.record({ zero: fc.boolean(), first: fc.nat(39), n: fc.integer({ min: 1, max: 20 }), seed: fc.nat(50) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), fc.constantFrom(512, 4096, 1 << 20), async (steps, run) => {
      const { base, top } = overlayOver(length);
      await base.pwrite(0, pattern(length));
      const model = pattern(length);
      for (const { zero, first, n, seed } of steps) {
        const size = Math.min(n, 40 - first) * 512;
        const data = zero ? Buffer.alloc(size) : pattern(size, seed);
        model.set(data, first * 512);
        await (zero ? top.writeZeroes(first * 512, size) : top.pwrite(first * 512, data));
      }
      expectSame(await top.pread(0, length), model);
      const merged = pattern(length);
      for (const { offset, length: n, data } of top.extents(run)) merged.set(data ?? Buffer.alloc(n), offset);
      expectSame(merged, model);
    }),
  );
});
