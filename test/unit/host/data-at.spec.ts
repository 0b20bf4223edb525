/**
 * Goal: where a file has holes is told truly: what dataAt leaves out reads as zeroes, and every
 * written block is in it; the driver makes whole sectors of it. Method: random blocks and holes in
 * a real file against a flat array; skipped by name where the file system of /tmp knows no holes or
 * the addon is not built.
 */
import fc from 'fast-check';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileDriver } from '../../../src/block/drivers/file.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { OpenFile } from '../../../src/host/ports.js';
import { addonBuilt } from '../../support/colo-process.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-holes-'));
afterAll(() => rmSync(dir, { recursive: true }));
const path = join(dir, 'image');
const BLOCK = 64 * 1024;
const SIZE = 16 * BLOCK + 1000; // its end is in the middle of a sector

async function fresh(): Promise<OpenFile> {
  writeFileSync(path, '');
  const file = await nodeHost().files.open(path, { readOnly: false, lock: 'none' });
  await file.truncate(SIZE);
  return file;
}

async function knowsHoles(): Promise<boolean> {
  if (!addonBuilt) return false;
  const file = await fresh();
  const empty = file.dataAt?.(0) === undefined && statSync(path).blocks === 0;
  await file.close();
  return empty;
}
const whenAble = (await knowsHoles()) ? test : test.skip;

/** All that dataAt says, in order. */
function ranges(file: OpenFile): { start: number; end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (let at = 0; ; at = found[found.length - 1].end) {
    const next = file.dataAt!(at);
    if (!next) return found;
    expect([next.start >= at, next.end > next.start]).toEqual([true, true]);
    found.push(next);
  }
}

whenAble('blocks, holes, the end (skipped where the file system knows no holes)', async () => {
  const file = await fresh();
  expect(file.dataAt!(0)).toBeUndefined();
  await file.pwrite(Buffer.alloc(BLOCK, 1), 2 * BLOCK);
  expect([0, 2 * BLOCK, 2 * BLOCK + 777].map(at => file.dataAt!(at))).toEqual([
    { start: 2 * BLOCK, end: 3 * BLOCK },
    { start: 2 * BLOCK, end: 3 * BLOCK },
    { start: 2 * BLOCK + 777, end: 3 * BLOCK },
  ]);
  expect([3 * BLOCK, SIZE - 1, SIZE, SIZE + BLOCK].map(at => file.dataAt!(at))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  await file.pwrite(Buffer.alloc(1000, 1), 16 * BLOCK);
  expect(file.dataAt!(3 * BLOCK)).toEqual({ start: 16 * BLOCK, end: SIZE });
  await file.punchHole(2 * BLOCK, BLOCK);
  expect(ranges(file)).toEqual([{ start: 16 * BLOCK, end: SIZE }]);
  await file.close();
});

const change = fc.record({
  what: fc.constantFrom('write', 'hole'),
  at: fc.nat(SIZE - 1),
  n: fc.integer({ min: 1, max: 3 * BLOCK }),
});

whenAble(
  'whatever is written: no data outside, and the driver covers the disk in whole sectors ' +
    '(skipped where the file system knows no holes)',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 8 }), async changes => {
        const file = await fresh();
        const model = Buffer.alloc(SIZE);
        for (const { what, at, n } of changes) {
          const length = Math.min(n, SIZE - at);
          model.fill(what === 'write' ? 7 : 0, at, at + length);
          await (what === 'write'
            ? file.pwrite(Buffer.alloc(length, 7), at)
            : file.punchHole(at, length));
        }
        const outside = Buffer.from(model);
        for (const { start, end } of ranges(file)) outside.fill(0, start, end);
        expect(outside.every(byte => byte === 0)).toBe(true);
        await file.close();

        const driver = await FileDriver.open(nodeHost(), {
          filename: path,
          readOnly: true,
          lock: 'none',
        });
        for (let at = 0; at < driver.length;) {
          const { length, zero, allocated } = await driver.blockStatus(at, driver.length - at);
          expect([length > 0, length % 512, zero, at + length <= driver.length]).toEqual([
            true,
            0,
            !allocated,
            true,
          ]);
          if (zero) expect(model.subarray(at, at + length).every(byte => byte === 0)).toBe(true);
          at += length;
        }
        await driver.close();
      }),
      { numRuns: 60 },
    );
  },
);

whenAble(
  'a file whose holes are not known is data from end to end (skipped where the file system ' +
    'knows no holes)',
  async () => {
    const proc = await nodeHost().files.open('/proc/self/status', { readOnly: true, lock: 'none' });
    expect(proc.dataAt!(5)).toEqual({ start: 5, end: Number.MAX_SAFE_INTEGER });
    await proc.close();
  },
);
