/**
 * Goal: RAM chunks carry pages exactly, zero pages for four bytes, and no chunk names a page twice,
 * backwards or beyond RAM.
 */
import fc from 'fast-check';
import type { Ram } from '../../../src/accel/contract.js';
import { frameHead } from '../../../src/migration/frames.js';
import {
  PageStaging,
  applyChunk,
  chunkBytesMax,
  decodeChunk,
  encodePageChunk,
  PAGE_BYTES,
} from '../../../src/migration/pages.js';

const kind = { name: 'pages', ordinal: 67, bytes: chunkBytesMax };

function memory(pageCount: number) {
  const bytes = new Uint8Array(pageCount * PAGE_BYTES);
  const ram = {
    pageCount,
    gather: (pages: Uint32Array, out: Uint8Array) =>
      pages.forEach((p, i) =>
        out.set(bytes.subarray(p * PAGE_BYTES, (p + 1) * PAGE_BYTES), i * PAGE_BYTES),
      ),
    scatter: (pages: Uint32Array, data: Uint8Array) => {
      expect(data.length).toBe(pages.length * PAGE_BYTES);
      pages.forEach((p, i) =>
        bytes.set(data.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), p * PAGE_BYTES),
      );
    },
    zero: (pages: Uint32Array) =>
      pages.forEach(p => bytes.fill(0, p * PAGE_BYTES, (p + 1) * PAGE_BYTES)),
  } as unknown as Ram;
  return { bytes, ram };
}

function body(source: Ram, pages: number[]): Buffer {
  const staging = new PageStaging();
  staging.fill(source, Uint32Array.from(pages));
  return encodePageChunk(kind, staging, 0, pages.length).subarray(frameHead(kind.ordinal));
}

it('carries any set of pages, zero or not', () => {
  const set = fc
    .uniqueArray(fc.nat(19), { minLength: 1, maxLength: 20 })
    .map(a => a.sort((x, y) => x - y));
  fc.assert(
    fc.property(set, fc.uint8Array({ minLength: 20, maxLength: 20 }), (pages, fill) => {
      const from = memory(20);
      const to = memory(20);
      to.bytes.fill(0xee);
      fill.forEach((v, p) =>
        from.bytes.fill(v < 100 ? 0 : v, p * PAGE_BYTES + (v % 8), (p + 1) * PAGE_BYTES),
      );
      applyChunk(to.ram, decodeChunk(body(from.ram, pages), 20, -1));
      for (let p = 0; p < 20; p++) {
        const page = to.bytes.subarray(p * PAGE_BYTES, (p + 1) * PAGE_BYTES);
        expect(
          Buffer.compare(
            page,
            pages.includes(p)
              ? from.bytes.subarray(p * PAGE_BYTES, (p + 1) * PAGE_BYTES)
              : Buffer.alloc(PAGE_BYTES, 0xee),
          ),
        ).toBe(0);
      }
    }),
    { numRuns: 40 },
  );
});

it('sends four bytes for a page of zeroes', () => {
  expect(body(memory(4).ram, [0, 1, 2, 3]).length).toBe(4 + 16);
});

it('refuses what no primary of ours sends', () => {
  const { ram, bytes } = memory(8);
  bytes.fill(1);
  expect(() => decodeChunk(body(ram, [3, 7]), 7, -1)).toThrow(
    'RAM page 7 lies beyond the 7 pages of this machine',
  );
  expect(() => decodeChunk(body(ram, [3, 3]), 8, -1)).toThrow('RAM page 3 after page 3');
  expect(() => decodeChunk(body(ram, [3, 2]), 8, -1)).toThrow('RAM page 2 after page 3');
  expect(() => decodeChunk(body(ram, [3]), 8, 5)).toThrow('RAM page 3 after page 5');
  expect(() => decodeChunk(body(ram, [3]).subarray(0, 100), 8, -1)).toThrow(
    'RAM chunk of 1 pages has 100 bytes',
  );
  expect(() => decodeChunk(Buffer.from([0, 0, 0, 0]), 8, -1)).toThrow('RAM chunk of 0 pages');
  expect(() => decodeChunk(Buffer.from([255, 255, 255, 255]), 8, -1)).toThrow(
    'RAM chunk of 4294967295 pages',
  );
  expect(() => decodeChunk(Buffer.from([1]), 8, -1)).toThrow('without a page count');
});

it('never throws anything but a sentence on garbage', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), data => {
      try {
        decodeChunk(Buffer.from(data), 8, -1);
      } catch (error) {
        expect((error as Error).name).toBe('VmError');
      }
    }),
  );
});
