/**
 * Goal: whatever stands in the tables of an image, requests end with an answer or with an error
 * that names the field; nothing hangs, the file does not grow without bound, and the image's header
 * is never overwritten by data. Method: an image with snapshots of every kind of entry, random
 * bytes and random 64-bit words put into its tables, then requests and our own check.
 */
import fc from 'fast-check';
import { VmError } from '../../../src/base/errors.js';
import { checkQcow2 } from '../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../src/block/drivers/qcow2/image.js';
import { BlockNode } from '../../../src/block/contract/node.js';
import { pattern } from '../../support/block-host.js';
import { LoggedFile, newImage, openImage } from '../../support/qcow2.js';

const SIZE = 256 * 1024;
const CLUSTER = 512;
/** An image of this size needs no more than this, and its growth comes in steps of 1 MiB. */
const MOST = 8 * 1024 * 1024;

let sound: Buffer;
beforeAll(async () => {
  const log = new LoggedFile();
  const { node, driver } = await openImage(
    await newImage({ size: SIZE, clusterSize: CLUSTER }, log),
  );
  await node.pwrite(0, pattern(SIZE / 2));
  await node.writeZeroes(8192, 4096);
  for (let at = SIZE / 2; at < SIZE / 2 + 16 * CLUSTER; at += CLUSTER)
    await driver.writeCompressed(at, Buffer.alloc(CLUSTER, 3));
  await node.close();
  sound = log.data.subarray(0, 512 * 1024);
});

/** Everything that the image refers to by number: words near these values hurt most. */
const word = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc
    .tuple(fc.nat(1200), fc.constantFrom(0n, 1n << 63n, 1n << 62n, 1n, (1n << 63n) | 1n))
    .map(([cluster, flags]) => BigInt(cluster * CLUSTER) | flags),
);
const place = fc.oneof(fc.nat(40 * 64), fc.nat(1024 * 64 - 1));

async function attempt(work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    expect(error.message).toMatch(/qcow2|node '|cluster|table|snapshot|bitmap/);
  }
}

test('hostile tables', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(place, word), { minLength: 1, maxLength: 12 }),
      fc.boolean(),
      async (changes, headerToo) => {
        const image = Buffer.from(sound);
        for (const [at, value] of changes)
          if (headerToo || at * 8 >= CLUSTER) image.writeBigUInt64BE(value, at * 8);
        const magic = Buffer.from(image.subarray(0, 8));
        const log = new LoggedFile(image);
        const file = new BlockNode('file', log);
        await attempt(async () => {
          const { node } = await openImage(file);
          for (const at of [0, 4096, 8192, SIZE / 2, SIZE - 4096]) {
            await attempt(() => node.pread(at, 4096));
            await attempt(() => node.pwrite(at, pattern(1536, 9)));
            await attempt(() => node.writeZeroes(at, 2048));
          }
          await attempt(() => node.flush());
          await attempt(() => node.pread(0, node.length > SIZE ? SIZE : node.length));
          await attempt(() => node.close());
        });
        expect(log.data.length).toBeLessThanOrEqual(MOST);
        expect(log.data.subarray(0, 8)).toEqual(magic);
        await attempt(async () => checkQcow2(file, await readHeader(file)));
      },
    ),
    { numRuns: 100 },
  );
}, 60_000);

test('truncated anywhere', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(1023), async sectors => {
      const file = new BlockNode(
        'file',
        new LoggedFile(Buffer.from(sound.subarray(0, sectors * 512))),
      );
      await attempt(async () => {
        const { node } = await openImage(file, { readOnly: true });
        await attempt(() => node.pread(0, SIZE));
      });
    }),
    { numRuns: 60 },
  );
}, 60_000);
