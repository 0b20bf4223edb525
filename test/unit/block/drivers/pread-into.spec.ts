/**
 * Goal: a reader that brings its own buffer gets the same bytes from every driver, in that buffer
 * from its beginning or elsewhere, and nothing of the buffer is touched beyond what was asked for.
 * Method: one content behind every kind of node, random ranges, against a flat array.
 */
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { createImage, openImage } from '../../../../src/block/image/open.js';
import { defaultCreateOptions } from '../../../../src/block/drivers/qcow2/create.js';
import { type Qcow2Driver } from '../../../../src/block/drivers/qcow2/driver.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { Random } from '../../../support/random.js';

const KiB = 1024;
const CLUSTER = 4 * KiB;
const SIZE = 15 * CLUSTER;
const GUARD = 0xa5;

/** Clusters in turn: of the base, zero, of the image, packed, and neither's. */
function content(): Buffer {
  const all = pattern(SIZE, 1);
  for (let at = 0; at < SIZE; at += 5 * CLUSTER) {
    all.fill(0, at + CLUSTER, at + 2 * CLUSTER);
    pattern(CLUSTER, 2).copy(all, at + 2 * CLUSTER);
    all.fill(9, at + 3 * CLUSTER, at + 4 * CLUSTER);
  }
  return all;
}

async function nodes() {
  const host = testHost();
  const wanted = content();
  host.files.put('/flat', wanted);
  host.files.put('/base', pattern(SIZE, 1));
  await createImage(host, '/top', 'qcow2', {
    ...defaultCreateOptions,
    clusterSize: CLUSTER,
    size: SIZE,
    backingFile: '/base',
    backingFormat: 'raw',
  });
  const image = await openImage(host, '/top', { format: 'qcow2', readOnly: false });
  for (let at = 0; at < SIZE; at += 5 * CLUSTER) {
    await image.node.writeZeroes(at + CLUSTER, CLUSTER);
    await image.node.pwrite(at + 2 * CLUSTER, pattern(CLUSTER, 2));
    await (image.node.driver as Qcow2Driver).writeCompressed(
      at + 3 * CLUSTER,
      Buffer.alloc(CLUSTER, 9),
    );
  }
  await image.close();
  const layer = new BlockLayer(host);
  const add = (name: string, options: object) =>
    layer.blockdevAdd({ 'node-name': name, 'read-only': true, ...options });
  const flat = { driver: 'file', filename: '/flat' };
  await add('file', flat);
  await add('raw', { driver: 'raw', file: 'file' });
  await add('qcow2', { driver: 'qcow2', file: { driver: 'file', filename: '/top' } });
  await add('blkdebug', { driver: 'blkdebug', image: 'raw' });
  await add('quorum', {
    driver: 'quorum',
    'read-pattern': 'quorum',
    'vote-threshold': 2,
    children: ['raw', 'blkdebug'],
  });
  await add('memory', { driver: 'memory', 'read-only': false, backing: 'raw' });
  await layer.graph.node('memory').pwrite(0, wanted.subarray(0, CLUSTER));
  await layer.nbd.start({ kind: 'tcp', host: '127.0.0.1', port: 10809 });
  layer.nbdServerAdd({ device: 'raw' });
  await add('nbd', { driver: 'nbd', host: '127.0.0.1', port: 10809, export: 'raw' });
  await layer.addDrive(parseDrive('id=drive,if=none,driver=raw,read-only=on,file.filename=/flat'));
  return { layer, wanted };
}

test('every driver', async () => {
  const { layer, wanted } = await nodes();
  const random = new Random(7);
  let shared = 0;
  for (const name of ['file', 'raw', 'qcow2', 'blkdebug', 'quorum', 'memory', 'nbd']) {
    const node = layer.graph.node(name);
    for (let n = 0; n < 60; n++) {
      const offset = random.below(SIZE / 512) * 512;
      const length = Math.min((1 + random.below(40)) * 512, SIZE - offset);
      const into = Buffer.alloc(length + random.below(2) * 1000, GUARD);
      const got = await node.pread(offset, length, into);
      expectSame(got, wanted.subarray(offset, offset + length));
      expect(into.subarray(length).every(byte => byte === GUARD)).toBe(true);
      if (got.buffer !== into.buffer) continue;
      shared++;
      expect(got.byteOffset).toBe(into.byteOffset);
    }
  }
  // It is worth its while: files read into it.
  expect(shared).toBeGreaterThan(100);
  await layer.close();
});

test('a file that ends within the range: zeroes, also where the buffer held something', async () => {
  const host = testHost();
  host.files.put('/odd', pattern(1000));
  const layer = new BlockLayer(host);
  await layer.blockdevAdd({ driver: 'file', 'node-name': 'odd', filename: '/odd' });
  const into = Buffer.alloc(1024, GUARD);
  expectSame(
    await layer.graph.node('odd').pread(0, 1024, into),
    Buffer.concat([pattern(1000)], 1024),
  );
  expect(layer.graph.node('odd').length).toBe(1024);
  await layer.close();
});

test('two readers with buffers of their own do not meet', async () => {
  const { layer, wanted } = await nodes();
  const node = layer.graph.node('qcow2');
  const buffers = Array.from({ length: SIZE / CLUSTER }, () => Buffer.alloc(CLUSTER));
  const got = await Promise.all(buffers.map((into, n) => node.pread(n * CLUSTER, CLUSTER, into)));
  got.forEach((data, n) => expectSame(data, wanted.subarray(n * CLUSTER, (n + 1) * CLUSTER)));
  await layer.close();
});
