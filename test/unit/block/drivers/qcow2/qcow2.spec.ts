/**
 * Goal: qcow2 as a drive and as the overlays of a replication, and its refusals. Method: simulated
 * host; headers changed one field at a time.
 */
import { Events } from '../../../../../src/base/events.js';
import { checkQcow2 } from '../../../../../src/block/drivers/qcow2/check.js';
import { readHeader } from '../../../../../src/block/drivers/qcow2/image.js';
import { BlockLayer } from '../../../../../src/block/layer/layer.js';
import { parseDrive } from '../../../../../src/block/options/options.js';
import { BlockNode } from '../../../../../src/block/contract/node.js';
import { MemoryDriver } from '../../../../../src/block/drivers/memory.js';
import type { QmpEvents } from '../../../../../src/qapi/types.js';
import { expectSame, pattern, testHost } from '../../../../support/block-host.js';
import { checkpoint, MiB, startedPair } from '../../../../support/block-pair.js';
import { LoggedFile, newImage, openImage } from '../../../../support/qcow2.js';

const imageOf = async (size: number, clusterSize = 65536) => {
  const log = new LoggedFile();
  await newImage({ size, clusterSize }, log);
  return log.data;
};
const seed =
  'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=qcow2,' +
  'file.file.filename=/active,file.backing.driver=qcow2,file.backing.file.filename=/hidden,' +
  'file.backing.backing=colo-disk0';
const qcow2Pair = async (clusterSize?: number) => {
  const overlay = await imageOf(MiB, clusterSize);
  return startedPair({
    secondaryDrive: seed,
    secondaryFiles: { '/active': overlay, '/hidden': overlay },
  });
};
const nodeOf = (data: Buffer) => new BlockNode('file', new LoggedFile(Buffer.from(data)));

test.each([4096, 65536])(
  'overlays of the seed, clusters of %i: the guest sees the checkpoint and its own writes',
  async clusterSize => {
    const pair = await qcow2Pair(clusterSize);
    const base = pattern(MiB);
    await pair.pvm.pwrite(0, pattern(100 * 512, 2));
    await pair.svm.pwrite(200 * 512, pattern(512, 3));
    pattern(512, 3).copy(base, 200 * 512);
    await pair.p.cut().epochDone;
    expectSame(await pair.svm.pread(0, MiB), base);
    await pair.s.checkpoint();
    pair.p.committed();
    expectSame(await pair.svm.pread(0, MiB), await pair.pvm.pread(0, MiB));
    await pair.pvm.pwrite(512, pattern(70_144, 5));
    await pair.svm.pwrite(MiB - 512, pattern(512, 6));
    const wanted = await pair.svm.pread(0, MiB);
    await pair.s.stop(true);
    expectSame(await pair.svm.pread(0, MiB), wanted);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), wanted);
    await pair.secondary.close();
    for (const path of ['/active', '/hidden']) {
      const file = nodeOf(pair.secondaryHost.files.bytes(path));
      expect(await checkQcow2(file, await readHeader(file))).toMatchObject({
        corruptions: 0,
        leaks: 0,
        allocated: 0,
      });
    }
  },
);

test('a checkpoint that finds both overlays empty does no I/O', async () => {
  const pair = await qcow2Pair();
  await checkpoint(pair);
  const { log } = pair.secondaryHost.files;
  log.length = 0;
  await checkpoint(pair);
  expect(log.filter(line => !line.includes('/s.img'))).toEqual([]);
});

test(
  'a killed secondary leaves the last checkpoint: hidden over secondary disk, as the files have ' +
    'them',
  async () => {
    const pair = await qcow2Pair();
    await pair.pvm.pwrite(0, pattern(4096, 2));
    await checkpoint(pair);
    const checkpointed = await pair.svm.pread(0, MiB);
    await pair.pvm.pwrite(512, pattern(300 * 512, 5));
    await pair.pvm.writeZeroes(MiB / 2, 65536);
    await pair.p.cut().epochDone;
    const { files } = pair.secondaryHost;
    const disk = new BlockNode(
      'disk',
      new MemoryDriver({ size: MiB, maxBytes: 1 << 22, readOnly: false }),
    );
    await disk.pwrite(0, files.bytes('/s.img'));
    const { node } = await openImage(nodeOf(files.bytes('/hidden')), {
      readOnly: true,
      backing: disk,
    });
    expectSame(await node.pread(0, MiB), checkpointed);
  },
);

test('as a drive; a relative backing file of the header; an image that backs itself', async () => {
  const host = testHost();
  const log = new LoggedFile();
  await newImage({ size: MiB, backingFile: 'base', backingFormat: 'raw' }, log);
  host.files.put('/d/top', log.data);
  host.files.put('/d/base', pattern(65536));
  const layer = new BlockLayer(host);
  await layer.addDrive(parseDrive('file=/d/top,format=qcow2,id=d'));
  const guest = layer.claim('d', 'v');
  await guest.pwrite(512, pattern(512, 2), { fua: true });
  expectSame(
    await guest.pread(0, 1536),
    Buffer.concat([pattern(512), pattern(512, 2), pattern(1536).subarray(1024)]),
  );
  await layer.close();
  const self = new LoggedFile();
  await newImage({ size: MiB, backingFile: 'self', backingFormat: 'qcow2' }, self);
  host.files.put('/d/self', self.data);
  await expect(layer.addDrive(parseDrive('file=/d/self,format=qcow2,readonly=on'))).rejects.toThrow(
    /longer than 64 images|locked/,
  );
  await expect(layer.addDrive(parseDrive('file=/d/top'))).rejects.toThrow(
    'looks like qcow2: say format=qcow2',
  );
});

const u32 = (at: number, value: number) => (image: Buffer) => void image.writeUInt32BE(value, at);
test.each<[string, (image: Buffer) => void, string]>([
  ['magic', u32(0, 1), 'magic'],
  ['version', u32(4, 4), 'version is 4'],
  ['cluster_bits', u32(20, 8), 'cluster_bits is 8'],
  ['cluster_bits', u32(20, 63), 'cluster_bits is 63'],
  ['size', u32(24, 0x7fff_ffff), 'size is'],
  ['crypt_method', u32(32, 2), 'crypt_method is 2, encrypted'],
  ['l1_size', u32(36, 0x1000_0000), 'l1_size'],
  ['l1_size', u32(36, 0), 'l1_size is 0, a disk'],
  ['l1_table_offset', u32(44, 12345), 'l1_table_offset is 12345'],
  ['l1_table_offset', u32(40, 1), 'l1_table_offset'],
  ['refcount_table_offset', u32(48, 0xffff_ffff), 'refcount_table_offset'],
  ['refcount_table_clusters', u32(56, 0), 'refcount_table_clusters is 0'],
  ['refcount_table_clusters', u32(56, 0xffff_ffff), 'longer than 8 MiB'],
  ['nb_snapshots', u32(60, 0x1_0001), 'nb_snapshots'],
  ['snapshots_offset', u32(60, 5), 'snapshots_offset'],
  ['refcount_order', u32(96, 7), 'refcount_order is 7'],
  ['header_length', u32(100, 96), 'header_length is 96'],
  [
    'backing_file_offset',
    image => (u32(12, 65530)(image), u32(16, 100)(image)),
    'backing_file_offset',
  ],
  ['backing_file_size', image => (u32(12, 600)(image), u32(16, 5000)(image)), 'backing_file_size'],
  ['extension length', u32(116, 0xffff_fff0), 'extension length'],
  ['compression_type', image => void (image[104] = 9), 'compression_type is 9'],
  ['data file', u32(76, 4), "'external data file', which is not implemented"],
  ['extended L2', u32(76, 16), "'extended L2 entries', which is not implemented"],
  ['a feature of the future', u32(76, 1 << 20), "unknown feature 'bit 20'"],
  ['corrupt', u32(76, 2), 'marked corrupt'],
])('hostile header: %s', async (_what, change, message) => {
  const image = Buffer.from(await imageOf(MiB));
  change(image);
  await expect(openImage(image)).rejects.toThrow(message);
});

test('hostile tables: errors of the request that name the entry, and nothing is written outside', async () => {
  const log = new LoggedFile();
  const file = await newImage({ size: MiB }, log);
  const first = await openImage(file);
  await first.node.pwrite(0, pattern(65536));
  await first.node.close();
  const l1 = (await readHeader(file)).l1Offset;
  const l2 = log.data.readUInt32BE(l1 + 4);
  const broken = async (change: (image: Buffer) => void) => {
    const image = Buffer.from(log.data);
    change(image);
    return (await openImage(image)).node;
  };
  await expect(broken(image => image.writeUInt32BE(0x1200, l1 + 4))).rejects.toThrow(
    'L1 entry 0 is 0x1200, not a multiple',
  );
  await expect(broken(image => image.writeUInt32BE(0x7fff_0000, l1 + 4))).rejects.toThrow(
    'beyond the end of the file',
  );
  const toHeader = await broken(image => image.writeUInt32BE(0, l2 + 4));
  expectSame(await toHeader.pread(0, 512), Buffer.alloc(512));
  const toL1 = await broken(image => image.writeUInt32BE(l1, l2 + 4));
  await expect(toL1.pwrite(0, pattern(512))).rejects.toThrow('is that of metadata');
  const outside = await broken(image => image.writeUInt32BE(0x10, l2));
  await expect(outside.pread(0, 512)).rejects.toThrow(/L2 entry of cluster 0 .* beyond the end/);
  const garbage = await broken(image => image.writeUInt32BE(0x4000_0000, l2));
  await expect(garbage.pread(0, 512)).rejects.toThrow('compressed cluster at');
});

test('a dirty image is repaired when it is opened for writing: refcounts and copied flags', async () => {
  const log = new LoggedFile();
  const file = await newImage({ size: MiB, lazyRefcounts: true }, log);
  const first = await openImage(file);
  await first.node.pwrite(0, pattern(200_704));
  await first.node.close();
  const header = await readHeader(file);
  const block = log.data.readUInt32BE(header.refcountTableOffset + 4);
  const image = Buffer.from(log.data);
  image.fill(0, block, block + header.clusterSize);
  image.writeUInt32BE(1, 76);
  // One entry without its copied flag: harmless, and wrong.
  image.writeUInt32BE(0, image.readUInt32BE(header.l1Offset + 4) + 8);
  expect(await checkQcow2(nodeOf(image), await readHeader(nodeOf(image)))).not.toMatchObject({
    corruptions: 0,
  });
  const dirty = nodeOf(image);
  const { node } = await openImage(dirty);
  await node.pwrite(300_032, pattern(512, 3));
  expectSame(await node.pread(0, 200_704), pattern(200_704));
  await node.close();
  const after = await readHeader(dirty);
  expect(after.incompatible).toBe(0);
  expect(await checkQcow2(dirty, after)).toMatchObject({
    corruptions: 0,
    leaks: 0,
    messages: [],
  });
  expectSame(await (await openImage(image, { readOnly: true })).node.pread(0, 512), pattern(512));
});

test('an image found corrupt is marked so, takes no more writes, and is read on', async () => {
  const host = testHost();
  const log = new LoggedFile();
  const file = await newImage({ size: MiB }, log);
  const first = await openImage(file);
  await first.node.pwrite(0, pattern(131_072));
  await first.node.close();
  const header = await readHeader(file);
  const l2 = log.data.readUInt32BE(header.l1Offset + 4);
  log.data.writeUInt32BE(header.l1Offset, l2 + 4);
  host.files.put('/c', log.data);
  const events = new Events<QmpEvents>();
  const seen: unknown[] = [];
  events.on('BLOCK_IMAGE_CORRUPTED', data => seen.push(data));
  const layer = new BlockLayer(host, events);
  await layer.addDrive(parseDrive('if=none,id=d,file=/c,format=qcow2,node-name=n'));
  const { node } = layer.backend('d');
  await expect(node.pwrite(0, pattern(512))).rejects.toThrow('is that of metadata');
  await expect(node.pwrite(65_536, pattern(512))).rejects.toThrow(
    'is corrupt, so it takes no more writes: L2 entry of cluster 0',
  );
  expectSame(await node.pread(65_536, 512), pattern(131_072).subarray(65_536, 66_048));
  await layer.close();
  expect(seen).toEqual([
    {
      device: 'd',
      'node-name': 'n',
      msg: expect.stringContaining('is that of metadata') as string,
      fatal: true,
    },
  ]);
  await expect(layer.addDrive(parseDrive('if=none,id=d,file=/c,format=qcow2'))).rejects.toThrow(
    'marked corrupt',
  );
  await layer.addDrive(parseDrive('if=none,id=d,file=/c,format=qcow2,readonly=on'));
  expectSame(
    await layer.backend('d').pread(65_536, 512),
    pattern(131_072).subarray(65_536, 66_048),
  );
});

test('a compressed cluster is not put behind one whose place has been given to data meanwhile', async () => {
  const file = await newImage({ size: MiB, clusterSize: 4096 });
  const { node, driver } = await openImage(file);
  await driver.writeCompressed(0, Buffer.alloc(4096, 1));
  await node.pwrite(0, pattern(4096, 2));
  await node.flush(); // the first one's place is free
  await node.pwrite(4096, pattern(4096, 3));
  await driver.writeCompressed(8192, Buffer.alloc(4096, 4));
  expectSame(await node.pread(0, 8192), Buffer.concat([pattern(4096, 2), pattern(4096, 3)]));
  expectSame(await node.pread(8192, 4096), Buffer.alloc(4096, 4));
  await node.close();
  expect(await checkQcow2(file, await readHeader(file))).toMatchObject({
    corruptions: 0,
    leaks: 0,
    messages: [],
  });
});
