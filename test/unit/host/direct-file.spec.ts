/**
 * Goal: a file past the page cache is a flat array of bytes like any other, at every offset and
 * length. Method: random requests, several at once, on a real file against a model; /proc says how
 * it is open. Skipped where the file system of /tmp cannot do it.
 */
import fc from 'fast-check';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeHost } from '../../../src/host/node/host.js';
import { expectSame, pattern } from '../../support/block-host.js';

const dir = mkdtempSync(join(tmpdir(), 'colo-direct-'));
const path = join(dir, 'image');
writeFileSync(path, '');
const able = await open(path, constants.O_RDONLY | constants.O_DIRECT).then(
  file => file.close().then(() => true),
  () => false,
);
const whenAble = able ? test : test.skip;
afterAll(() => rmSync(dir, { recursive: true }));
const { files } = nodeHost();
const openDirect = () => files.open(path, { readOnly: false, lock: 'auto', direct: true });

/** Flags of every opening of the file by this process. */
const openings = () =>
  readdirSync('/proc/self/fd').flatMap(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path
        ? [
            parseInt(
              /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))![1],
              8,
            ),
          ]
        : [];
    } catch {
      return [];
    }
  });

whenAble('one of its two openings is O_DIRECT, and both end', async () => {
  const file = await openDirect();
  expect(openings().filter(flags => flags & constants.O_DIRECT)).toHaveLength(1);
  await file.close();
  expect(openings()).toEqual([]);
});

const SIZE = 40_000;
const request = fc.record({
  at: fc.oneof(fc.nat(SIZE - 1), fc.constantFrom(0, 4096, 8192, 36_864)),
  n: fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.constantFrom(4096, 8192)),
  what: fc.constantFrom('write', 'write', 'hole', 'read'),
  seed: fc.nat(200),
});

whenAble('random requests, those that do not overlap at the same time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(request, { maxLength: 8 }), { maxLength: 5 }),
      fc.constantFrom(SIZE, 36_864),
      async (rounds, size) => {
        const model = pattern(size, 3);
        writeFileSync(path, model);
        const file = await openDirect();
        for (const round of rounds) {
          const taken: { at: number; end: number }[] = [];
          await Promise.all(
            round.map(async ({ at, n, what, seed }) => {
              const end = Math.min(at + n, size);
              if (end <= at || taken.some(other => other.at < end && at < other.end)) return;
              taken.push({ at, end });
              if (what === 'read') {
                const got = Buffer.alloc(end - at);
                expect(await file.pread(got, at)).toBe(got.length);
                expectSame(got, model.subarray(at, end));
              } else if (what === 'hole') {
                model.fill(0, at, end);
                await file.punchHole(at, end - at);
              } else {
                pattern(end - at, seed).copy(model, at);
                await file.pwrite(pattern(end - at, seed), at);
              }
            }),
          );
        }
        const all = Buffer.alloc(size + 5000);
        expect(await file.pread(all, 0)).toBe(size);
        expectSame(all.subarray(0, size), model);
        await file.close();
        expectSame(readFileSync(path), model);
      },
    ),
    { numRuns: 60 },
  );
});

whenAble('many pieces of the same block at once', async () => {
  writeFileSync(path, Buffer.alloc(8192));
  const file = await openDirect();
  const wanted = pattern(8192, 9);
  await Promise.all(
    Array.from({ length: 64 }, (_, n) =>
      file.pwrite(wanted.subarray(n * 128, n * 128 + 128), n * 128),
    ),
  );
  await file.close();
  expectSame(readFileSync(path), wanted);
});

whenAble('it grows by what is written past its end, and no further', async () => {
  writeFileSync(path, pattern(100));
  const file = await openDirect();
  await file.pwrite(pattern(50, 1), 5000);
  await file.pwrite(pattern(3 << 20, 2), 8192);
  expect(await file.size()).toBe(8192 + (3 << 20));
  await file.truncate(9000);
  await file.fdatasync();
  await file.close();
  expectSame(
    readFileSync(path),
    Buffer.concat([
      pattern(100),
      Buffer.alloc(4900),
      pattern(50, 1),
      Buffer.alloc(3142),
      pattern(3 << 20, 2).subarray(0, 808),
    ]),
  );
});

test('a file system that cannot is named with the way out', async () => {
  await expect(
    files.open('/proc/version', { readOnly: true, lock: 'none', direct: true }),
  ).rejects.toThrow(
    "Could not open '/proc/version': its file system cannot read and write past the page " +
      'cache (O_DIRECT)',
  );
});
