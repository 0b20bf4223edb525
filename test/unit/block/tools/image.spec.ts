/**
 * Goal: what the image tool does to images, without a process around it. Method: simulated files;
 * qemu-img's words on the results are in test/interop.
 */
import { commitImage } from '../../../../src/block/tools/commit.js';
import { runBench } from '../../../../src/block/tools/bench.js';
import { copyImage } from '../../../../src/block/tools/copy.js';
import { cachedAs, withoutLocks } from '../../../../src/block/tools/files.js';
import { createImage, openImage } from '../../../../src/block/image/open.js';
import { defaultCreateOptions } from '../../../../src/block/drivers/qcow2/create.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { KiB } from '../../../support/jobs.js';

const SIZE = 512 * KiB;

async function chain(topSize = SIZE) {
  const host = testHost();
  for (const [name, below] of [
    ['/base', undefined],
    ['/mid', '/base'],
    ['/top', '/mid'],
  ] as const) {
    const size = name === '/top' ? topSize : SIZE;
    await createImage(host, name, 'qcow2', {
      ...defaultCreateOptions,
      clusterSize: 4096,
      size,
      backingFile: below?.slice(1),
      backingFormat: below && 'qcow2',
    });
    const image = await openImage(host, name, { readOnly: false });
    await image.node.pwrite(name.length * 8 * KiB, pattern(40 * KiB, name.charCodeAt(1)));
    if (name === '/top') await image.node.writeZeroes(4096, 8 * KiB);
    await image.close();
  }
  const read = async (name: string) => {
    const image = await openImage(host, name, { readOnly: true });
    const data = await image.node.pread(0, image.node.length);
    const held = [];
    for await (const extent of image.qcow2!.extents(4096)) held.push(extent.offset);
    await image.close();
    return { data, held: held.length };
  };
  const commit = async (options: Parameters<typeof commitImage>[1]) => {
    const image = await openImage(host, '/top', { readOnly: false });
    await commitImage(image, options).finally(() => image.close());
  };
  return { host, read, commit };
}

test('commit: the backing file reads as the image did, and the image holds nothing', async () => {
  const { read, commit, host } = await chain();
  const { data } = await read('/top');
  await commit({ keep: false });
  expectSame((await read('/mid')).data, data);
  expect(await read('/top')).toMatchObject({ held: 0 });
  expectSame((await read('/top')).data, data);
  expect(host.files.inodes.get('/mid')!.locks).toEqual([]);
});

test('commit into the base: what is in between goes along, nothing is emptied', async () => {
  const { read, commit } = await chain();
  const before = await read('/top');
  await commit({ keep: false, base: 'base' });
  expectSame((await read('/base')).data, before.data);
  expect((await read('/top')).held).toBe(before.held);
  await expect(commit({ keep: false, base: 'other' })).rejects.toThrow(
    "'other' is not in the backing chain",
  );
});

test(
  'commit makes a shorter base longer; -d keeps the image; an image without a backing file is ' +
    'refused',
  async () => {
    const { read, commit, host } = await chain(SIZE + 64 * KiB);
    const before = await read('/top');
    await commit({ keep: true });
    expectSame((await read('/mid')).data, before.data);
    expect((await read('/top')).held).toBe(before.held);
    const base = await openImage(host, '/base', { readOnly: false });
    await expect(commitImage(base, { keep: false })).rejects.toThrow(
      'Image does not have a backing file',
    );
  },
);

test('bench: so many requests, at most so many at once, a flush after every so many writes', async () => {
  const { host } = await chain();
  const image = await openImage(host, '/base', { readOnly: false });
  let now = 0;
  let most = 0;
  let running = 0;
  let requests = 0;
  let flushes = 0;
  const { node } = image;
  const [pwrite, flush] = [node.pwrite.bind(node), node.flush.bind(node)];
  node.pwrite = async (offset, data, fua) => {
    requests++;
    most = Math.max(most, ++running);
    await pwrite(offset, data, fua).finally(() => running--);
  };
  node.flush = async () => {
    flushes++;
    expect(running).toBe(0);
    await flush();
  };
  const { seconds } = await runBench(
    node,
    {
      count: 100,
      depth: 7,
      bytes: 8192,
      offset: 4096,
      step: 8192,
      write: true,
      pattern: 5,
      flushEvery: 10,
      drain: true,
    },
    () => (now += 500),
  );
  expect({ requests, most, flushes, seconds }).toEqual({
    requests: 100,
    most: 7,
    flushes: 10,
    seconds: 0.5,
  });
  expectSame(await node.pread(4096, 8192), Buffer.alloc(8192, 5));
});

test('convert -S: runs of zeroes shorter than that are written, and with 0 all of them', async () => {
  const host = testHost();
  const source = pattern(64 * KiB)
    .fill(0, 4096, 8192)
    .fill(0, 16384, 49152);
  host.files.put('/s', source);
  for (const [sparseBytes, written] of [
    [4096, 64 - 4 - 32],
    [16384, 64 - 32],
    [0, 64],
  ] as const) {
    host.files.put('/t', Buffer.alloc(64 * KiB));
    host.files.log.length = 0;
    const [one, two] = [
      await openImage(host, '/s', { format: 'raw', readOnly: true }),
      await openImage(host, '/t', { format: 'raw', readOnly: false }),
    ];
    await copyImage(one.node, two.node, { targetIsZero: true, sparseBytes, lanes: 2 });
    await Promise.all([one.close(), two.close()]);
    expectSame(host.files.bytes('/t'), source);
    const bytes = host.files.log
      .filter(line => line.startsWith('pwrite /t'))
      .reduce((sum, line) => sum + Number(line.split(' ')[3]), 0);
    expect([sparseBytes, bytes / KiB]).toEqual([sparseBytes, written]);
  }
});

test('past the locks of others, and without waiting for the disk', async () => {
  const { host } = await chain();
  const held = await openImage(host, '/base', { readOnly: false });
  await expect(openImage(host, '/base', { readOnly: true })).rejects.toThrow('locked');
  const shared = await openImage({ ...host, files: withoutLocks(host.files) }, '/base', {
    readOnly: true,
  });
  await Promise.all([held.close(), shared.close()]);
  host.files.log.length = 0;
  const unsafe = await openImage({ ...host, files: cachedAs(host.files, 'unsafe') }, '/base', {
    readOnly: false,
  });
  await unsafe.node.pwrite(0, pattern(4096), true);
  await unsafe.close();
  expect(host.files.log.filter(line => line.startsWith('fdatasync'))).toEqual([]);
});
