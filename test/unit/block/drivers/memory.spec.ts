/**
 * Goal: the overlay in memory gives back what was written, knows what it holds, and keeps to its
 * bound. Method: unit cases and a flat model.
 */
import fc from 'fast-check';
import { MemoryDriver } from '../../../../src/block/drivers/memory.js';
import { BlockNode } from '../../../../src/block/contract/node.js';
import { expectSame, pattern } from '../../../support/block-host.js';

const overlayOver = (length: number, maxBytes = 1 << 20) => {
  const base = new BlockNode(
    'base',
    new MemoryDriver({ size: length, maxBytes: 1 << 20, readOnly: false }),
  );
  return { base, top: new MemoryDriver({ maxBytes, readOnly: false }, base) };
};

test('holds, reads through, clears', async () => {
  const { base, top } = overlayOver(16384);
  await base.pwrite(0, pattern(16384));
  await top.pwrite(4608, pattern(512, 7));
  expect([top.heldFrom(4608, 8192), top.heldFrom(4096, 1024), top.heldFrom(0, 8192)]).toEqual([
    { held: true, length: 512 },
    { held: false, length: 512 },
    { held: false, length: 4608 },
  ]);
  expectSame(
    await top.pread(4096, 1024),
    Buffer.concat([pattern(16384).subarray(4096, 4608), pattern(512, 7)]),
  );
  expect(top.bytes).toBe(4096);
  top.clear();
  expect([top.empty, top.bytes]).toEqual([true, 0]);
  expectSame(await top.pread(0, 16384), pattern(16384));
});

test('zeroes hide the backing and cost little', async () => {
  const { base, top } = overlayOver(65536, 4096);
  await base.pwrite(0, pattern(65536));
  await top.writeZeroes(512, 65024);
  expect(top.bytes).toBe(4096);
  expectSame(await top.pread(512, 65024), Buffer.alloc(65024));
  expect(
    [...top.extents(1 << 20)].map(({ offset, length, data }) => [offset, length, data]),
  ).toEqual([[512, 65024, undefined]]);
});

test('at the bound nothing of the write is taken', async () => {
  const { top } = overlayOver(65536, 8192);
  await top.pwrite(0, pattern(4096));
  await expect(top.pwrite(4096, pattern(8192))).rejects.toThrow(
    'would pass its bound of 8192 bytes',
  );
  expect(top.heldFrom(4096, 4096)).toEqual({ held: false, length: 4096 });
  await top.pwrite(0, pattern(4096, 2));
});

test("sizes: one is needed, and it must be the backing's", () => {
  expect(() => new MemoryDriver({ maxBytes: 1, readOnly: false })).toThrow(
    'needs a backing node or a size',
  );
  const { base } = overlayOver(4096);
  expect(() => new MemoryDriver({ maxBytes: 1, size: 512, readOnly: false }, base)).toThrow(
    'size 512 is not that of its backing node, 4096',
  );
});

test('against a flat model; extents are exactly what differs from the backing', async () => {
  const length = 40 * 512;
  const step = fc.record({
    zero: fc.boolean(),
    first: fc.nat(39),
    n: fc.integer({ min: 1, max: 20 }),
    seed: fc.nat(50),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 20 }),
      fc.constantFrom(512, 4096, 1 << 20),
      async (steps, run) => {
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
        for (const { offset, length: n, data } of top.extents(run))
          merged.set(data ?? Buffer.alloc(n), offset);
        expectSame(merged, model);
      },
    ),
  );
});

describe('zeroes are counted and bounded', () => {
  const GiB = 2 ** 30;
  const huge = (maxBytes: number) =>
    new MemoryDriver({ size: 64 * 1024 * GiB, maxBytes, readOnly: false });

  test('64 GiB cost a word for each 16 MiB, and are one extent', async () => {
    const top = huge(1 << 21);
    for (let at = 0; at < 64 * GiB; at += GiB / 8) await top.writeZeroes(at, GiB / 8);
    expect(top.bytes).toBe(4096 * 256);
    expect([...top.extents(1 << 20)]).toEqual([{ offset: 0, length: 64 * GiB, data: undefined }]);
    expect(await top.blockStatus(5, 512)).toMatchObject({ allocated: true, zero: true });
    await top.pwrite(GiB, pattern(512, 3));
    await top.writeZeroes(0, 2 * GiB);
    expect(top.bytes).toBe(4096 * 256);
  });

  test('many small ones cost no more than a bit for each sector', async () => {
    const top = huge(1 << 20);
    for (let n = 0; n < 2048; n++) await top.writeZeroes(n * 8192, 512);
    expect(top.bytes).toBe(4096);
    expect([...top.extents(1 << 20)]).toHaveLength(2048);
  });

  test('at the limit they are refused with a sentence, and nothing is taken', async () => {
    const top = huge(8192);
    await top.writeZeroes(512, 512);
    await top.writeZeroes(2 * GiB, 512);
    await expect(top.writeZeroes(4 * GiB, 512)).rejects.toThrow(
      'would pass its bound of 8192 bytes',
    );
    await expect(top.writeZeroes(8 * GiB, 16 * GiB)).rejects.toThrow('would pass its bound');
    expect(top.heldFrom(4 * GiB, 512)).toEqual({ held: false, length: 512 });
    expect(top.bytes).toBe(8192);
  });
});
