/**
 * Goal: tables that stand in each other's place, entries that lead to them, and lists that claim
 * more than anybody can keep in mind harm nothing, and are named. Method: a small sound image,
 * changed by hand.
 */
import { checkQcow2 } from '../../../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../../../src/block/drivers/qcow2/image.js';
import { writeOffset } from '../../../../../src/block/drivers/qcow2/header.js';
import { BlockNode } from '../../../../../src/block/contract/node.js';
import { expectSame, pattern } from '../../../../support/block-host.js';
import { MiB } from '../../../../support/block-pair.js';
import { LoggedFile, newImage, openImage } from '../../../../support/qcow2.js';

const CLUSTER = 4096;
const PER_TABLE = CLUSTER / 8;
const COPIED = 2 ** 31;

let sound: Buffer;
let l1: number;
let block: number;
beforeAll(async () => {
  const log = new LoggedFile();
  const file = await newImage({ size: 8 * MiB, clusterSize: CLUSTER }, log);
  const { node } = await openImage(file);
  await node.pwrite(0, pattern(3 * CLUSTER));
  await node.pwrite(PER_TABLE * CLUSTER, pattern(CLUSTER, 5));
  await node.close();
  const header = await readHeader(file);
  l1 = header.l1Offset;
  block = log.data.readUInt32BE(header.refcountTableOffset + 4);
  sound = log.data;
});

const changed = (change: (image: Buffer) => void) => {
  const log = new LoggedFile(Buffer.from(sound));
  change(log.data);
  return { log, file: new BlockNode('file', log) };
};
const l2Of = (image: Buffer, index = 0) => image.readUInt32BE(l1 + index * 8 + 4);

test.each<[string, (image: Buffer) => void]>([
  ['an L2 table in the place of the L1 table', image => image.writeUInt32BE(l1, l1 + 12)],
  ['an L2 table in the place of the refcount block', image => image.writeUInt32BE(block, l1 + 12)],
  ['two L1 entries for one L2 table', image => image.writeUInt32BE(l2Of(image), l1 + 12)],
  [
    'a refcount block in the place of the L1 table',
    image => image.writeUInt32BE(l1, image.readUInt32BE(52) + 4),
  ],
  [
    'a second refcount block in the place of an L2 table',
    image => image.writeUInt32BE(l2Of(image), image.readUInt32BE(52) + 12),
  ],
  [
    'the L1 table in the place of the refcount table',
    image => writeOffset(image, image.readUInt32BE(52), 40),
  ],
])('overlapping metadata: %s', async (_what, change) => {
  const { log, file } = changed(change);
  const before = Buffer.from(log.data);
  await expect(openImage(file)).rejects.toThrow('stand in the same cluster');
  const { node } = await openImage(file, { readOnly: true });
  await node.pread(0, 4096).catch(() => undefined);
  const header = await readHeader(file);
  expect((await checkQcow2(file, header)).corruptions).toBeGreaterThan(0);
  await expect(checkQcow2(file, header, 'all')).rejects.toThrow('cannot be repaired: the ');
  expectSame(log.data, before);
});

test.each<[string, (l2: number) => (image: Buffer) => void]>([
  [
    'data, not copied',
    l2 => image => (image.writeUInt32BE(0, l2), image.writeUInt32BE(l1, l2 + 4)),
  ],
  [
    'data, copied',
    l2 => image => (image.writeUInt32BE(COPIED, l2), image.writeUInt32BE(l1, l2 + 4)),
  ],
  [
    'zeroes with a cluster kept for them',
    l2 => image => (image.writeUInt32BE(0, l2), image.writeUInt32BE(l1 + 1, l2 + 4)),
  ],
  [
    'a compressed cluster',
    l2 => image => (image.writeUInt32BE(0x4000_0000, l2), image.writeUInt32BE(l1 + 100, l2 + 4)),
  ],
  [
    'a compressed cluster that ends there',
    l2 => image => (
      image.writeUInt32BE(0x4000_0000 + 2 ** 26, l2),
      image.writeUInt32BE(l1 - 100, l2 + 4)
    ),
  ],
])(
  'an entry that leads to the L1 table, %s: not followed by a write, nor given away',
  async (_what, change) => {
    const { log, file } = changed(change(l2Of(sound)));
    const table = Buffer.from(log.data.subarray(l1, l1 + 16));
    const { node } = await openImage(file);
    await expect(node.pwrite(0, pattern(CLUSTER, 9))).rejects.toThrow('is that of metadata');
    await node.flush();
    for (let n = 8; n < 40; n++)
      await expect(node.pwrite(n * CLUSTER, pattern(CLUSTER, n))).rejects.toThrow(
        'takes no more writes',
      );
    await node.close();
    expectSame(log.data.subarray(l1, l1 + 16), table);
    expect((await readHeader(file)).incompatible).toBe(2);
    expectSame(
      await (await openImage(file, { readOnly: true })).node.pread(PER_TABLE * CLUSTER, CLUSTER),
      pattern(CLUSTER, 5),
    );
  },
);

test('L1 tables of snapshots, tables of bitmaps: only so much of them together', async () => {
  const long = 33 * MiB;
  const snapshots = changed(() => undefined);
  snapshots.log.data = Buffer.concat([sound, Buffer.alloc(CLUSTER)], sound.length + long);
  const at = sound.length;
  for (let n = 0; n < 9; n++) {
    writeOffset(snapshots.log.data, at, at + n * 40);
    snapshots.log.data.writeUInt32BE(2 ** 22, at + n * 40 + 8);
  }
  snapshots.log.data.writeUInt32BE(9, 60);
  writeOffset(snapshots.log.data, at, 64);
  await expect(openImage(snapshots.file)).rejects.toThrow(
    'snapshot 8: l1_size is 4194304, the L1 tables of all snapshots would be longer than 256 MiB',
  );

  const bitmaps = changed(() => undefined);
  bitmaps.log.data = Buffer.concat([sound], sound.length + long);
  const { data } = bitmaps.log;
  data.fill(0, 112, CLUSTER);
  data.writeUInt32BE(0x2385_2875, 112);
  data.writeUInt32BE(24, 116);
  data.writeUInt32BE(1, 120);
  writeOffset(data, 32, 128);
  writeOffset(data, at, 136);
  data.writeUInt32BE(1, 92);
  writeOffset(data, at + CLUSTER, at);
  data.writeUInt32BE(2 ** 21 + 1, at + 8);
  await expect(openImage(bitmaps.file)).rejects.toThrow('bitmap_table_size');
});

test('check of a file that is mostly a hole looks only where something is', async () => {
  const log = new LoggedFile(Buffer.from(sound));
  const file = new BlockNode('file', log);
  // 8 EiB would be 2^51 clusters.
  Object.defineProperty(log, 'length', { get: () => 2 ** 52 });
  const found = await checkQcow2(file, await readHeader(file));
  expect(found).toMatchObject({ corruptions: 0, leaks: 0, allocated: 4 });
});

test('check reads an L2 table once, however many L1 entries lead to it, and counts each', async () => {
  const { log, file } = changed(() => undefined);
  const header = await readHeader(file);
  const entries = log.data.readUInt32BE(36);
  for (let n = 1; n < entries; n++)
    log.data.copy(log.data, header.l1Offset + n * 8, header.l1Offset, header.l1Offset + 8);
  const table = l2Of(log.data);
  let reads = 0;
  const counting = new BlockNode(
    'file',
    Object.assign(Object.create(log) as LoggedFile, {
      pread: (offset: number, length: number) => (
        (reads += offset === table ? 1 : 0),
        log.pread(offset, length)
      ),
    }),
  );
  const found = await checkQcow2(counting, await readHeader(counting));
  expect(found.corruptions).toBeGreaterThan(0);
  expect(reads).toBeLessThanOrEqual(2); // and once for the flags
  expect(found.messages.join()).toContain(`reference=${entries}`);
});
