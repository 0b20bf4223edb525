/**
 * Goal: a backup is the disk of the moment it began, and the guest's writes neither wait for long
 * nor fail because of it; bitmaps carry from one backup to the next. Method: a layer over simulated
 * files, the guest's backend in front.
 */
import { startBackup } from '../../../../src/block/jobs/start.js';
import { expectSame, pattern, turns } from '../../../support/block-host.js';
import { jobBench, KiB } from '../../../support/jobs.js';

const SIZE = 512 * KiB;

async function setUp() {
  const bench = jobBench();
  bench.host.files.put('/s.img', pattern(SIZE));
  bench.host.files.put('/t.img', Buffer.alloc(SIZE));
  const guest = await bench.disk('file=/s.img,format=raw,id=d0,node-name=src');
  await bench.layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'tgt',
    file: { driver: 'file', filename: '/t.img' },
  });
  const backup = (more: object = {}) =>
    startBackup(bench.layer.startContext, { device: 'd0', target: 'tgt', sync: 'full', ...more });
  return { ...bench, guest, backup };
}

test('full: what the guest overwrites is saved first', async () => {
  const { backup, guest, until, job, host, named } = await setUp();
  const before = Buffer.from(host.files.bytes('/s.img'));
  await backup({ speed: 64 * KiB });
  await until(() => job('d0')!.offset > 0);
  for (let n = 0; n < 8; n++) await guest.pwrite(n * 64 * KiB + 512, pattern(2 * KiB, n + 2));
  await until(() => job('d0') === undefined);
  expectSame(host.files.bytes('/t.img'), before);
  expect(named('BLOCK_JOB_COMPLETED')).toEqual([
    expect.objectContaining({ type: 'backup', len: SIZE, offset: SIZE }),
  ]);
  expect(named('BLOCK_JOB_READY')).toEqual([]);
});

test('none: only what was overwritten, until it is cancelled', async () => {
  const { backup, guest, until, job, host, layer, named } = await setUp();
  await backup({ sync: 'none' });
  await until(() => job('d0')!.status === 'running');
  await guest.pwrite(64 * KiB, pattern(512, 7));
  const wanted = Buffer.alloc(SIZE);
  pattern(SIZE).copy(wanted, 64 * KiB, 64 * KiB, 128 * KiB);
  expectSame(host.files.bytes('/t.img'), wanted);
  expect(job('d0')!.status).toBe('running');
  layer.jobs.get('d0').cancel();
  await until(() => job('d0') === undefined);
  expect(named('BLOCK_JOB_CANCELLED')).toHaveLength(1);
  await guest.pwrite(0, pattern(512, 7));
  expectSame(host.files.bytes('/t.img'), wanted);
});

test(
  'a target that hangs: the guest waits five seconds, then the backup is lost and the write is ' +
    'not',
  async () => {
    const { backup, guest, until, job, host, named } = await setUp();
    await backup({ sync: 'none' });
    await until(() => job('d0')!.status === 'running');
    let hang = true;
    const waiting: (() => void)[] = [];
    host.files.delay = () =>
      hang && host.files.log[host.files.log.length - 1].includes('/t.img')
        ? new Promise(resolve => waiting.push(resolve))
        : Promise.resolve();
    let written = false;
    const write = guest.pwrite(0, pattern(512, 9)).then(() => (written = true));
    const start = host.clock.nowMs();
    await until(() => written);
    await write;
    expect(host.clock.nowMs() - start).toBeLessThanOrEqual(5200);
    await guest.pwrite(64 * KiB, pattern(512, 9)); // at once
    hang = false;
    for (const go of waiting) go();
    await until(() => job('d0') === undefined);
    expect(named('BLOCK_JOB_COMPLETED')).toEqual([
      expect.objectContaining({
        error: expect.stringContaining(
          'could not be saved before they were overwritten: the target did not take it within 5 s',
        ),
      }),
    ]);
  },
);

test('a target that fails during copy-before-write: the guest does not notice', async () => {
  const { backup, guest, until, job, host, named } = await setUp();
  await backup({ sync: 'none', onTargetError: 'ignore' });
  await until(() => job('d0')!.status === 'running');
  host.files.fault = (operation, path) => {
    if (operation === 'pwrite' && path === '/t.img')
      throw Object.assign(new Error('disk full'), { code: 'ENOSPC' });
  };
  await guest.pwrite(0, pattern(512, 9));
  await until(() => job('d0') === undefined);
  expect(named('BLOCK_JOB_COMPLETED')).toEqual([
    expect.objectContaining({ error: expect.stringContaining('disk full') }),
  ]);
});

test('incremental: the bitmap forgets what a good backup holds, and keeps all of a failed one', async () => {
  const { backup, guest, until, job, host, layer } = await setUp();
  await backup();
  layer.bitmaps.add(layer.graph.node('src'), 'b', { disabled: false });
  const marked = () => layer.bitmaps.list(layer.graph.node('src'))[0].count;
  await until(() => job('d0') === undefined);
  await guest.pwrite(130 * KiB, pattern(512, 3));
  await guest.discard(256 * KiB, 64 * KiB);
  expect(marked()).toBe(128 * KiB);
  host.files.fault = (operation, path) => {
    if (operation === 'pwrite' && path === '/t.img')
      throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  await backup({ sync: 'incremental', bitmap: 'b' });
  await guest.pwrite(0, pattern(512, 4));
  await until(() => job('d0') === undefined);
  expect(marked()).toBe(192 * KiB);
  host.files.fault = () => undefined;
  await backup({ sync: 'incremental', bitmap: 'b' });
  expect(() => layer.bitmaps.clear(layer.graph.node('src'), 'b')).toThrow(
    "in use by block job 'd0' (backup)",
  );
  await until(() => job('d0') === undefined);
  expect(marked()).toBe(0);
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
});

test('bitmap modes: never keeps the marks, always keeps only what was not copied', async () => {
  const { backup, guest, until, job, layer, host } = await setUp();
  const node = layer.graph.node('src');
  layer.bitmaps.add(node, 'b', { disabled: false, granularity: 64 * KiB });
  const marked = () => layer.bitmaps.list(node)[0].count;
  await guest.pwrite(0, pattern(256 * KiB, 3));
  await backup({ sync: 'bitmap', bitmap: 'b', bitmapMode: 'never' });
  await until(() => job('d0') === undefined);
  expect(marked()).toBe(256 * KiB);
  host.files.fault = (operation, path, offset) => {
    if (operation === 'pwrite' && path === '/t.img' && offset >= 192 * KiB)
      throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  await backup({ sync: 'bitmap', bitmap: 'b', bitmapMode: 'always', speed: 64 * KiB * 10 });
  await until(() => job('d0') === undefined);
  expect(marked()).toBe(64 * KiB);
  layer.bitmaps.remove(node, 'b');
  expect(layer.bitmaps.list(node)).toEqual([]);
});

test('an NBD export, by its URI', async () => {
  const { backup, until, job, host, layer } = await setUp();
  await layer.nbd.start({ kind: 'tcp', host: '127.0.0.1', port: 10810 });
  layer.nbdServerAdd({ device: 'tgt', writable: true, name: 'parent0' });
  await expect(
    backup({ target: { target: 'nbd://127.0.0.1:10810/parent0', mode: 'absolute-paths' } }),
  ).rejects.toThrow('an NBD export is not made by its client');
  await backup({ target: { target: 'nbd://127.0.0.1:10810/parent0', mode: 'existing' } });
  await until(() => job('d0') === undefined);
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
  expect(layer.queryNamedBlockNodes().filter(({ drv }) => drv === 'nbd')).toEqual([]);
});

test(
  'cancelled while a write of the guest waits for the target: the write goes on, and the target ' +
    'gets nothing after the end of the job',
  async () => {
    const { backup, guest, until, job, layer, host, events } = await setUp();
    await backup({ sync: 'none' });
    await until(() => job('d0')!.status === 'running');
    for (const n of [1, 3, 5]) await guest.pwrite(n * 64 * KiB, pattern(512, n));
    const held: (() => void)[] = [];
    host.files.delay = () =>
      host.files.log.at(-1)!.startsWith('pwrite /t.img')
        ? new Promise(resolve => held.push(resolve))
        : Promise.resolve();
    // four pieces that are not saved yet, one after the other
    const written = guest.pwrite(0, pattern(SIZE, 9));
    await until(() => held.length > 0);
    let atEnd = 0;
    events.on('BLOCK_JOB_CANCELLED', () => void (atEnd = host.files.log.length));
    layer.jobs.get('d0').cancel(true);
    await turns(5);
    host.files.delay = () => turns(2);
    for (const go of held) go();
    await until(() => atEnd > 0);
    await written;
    expectSame(host.files.bytes('/s.img'), pattern(SIZE, 9));
    expect(host.files.log.slice(atEnd).filter(line => line.startsWith('pwrite /t.img'))).toEqual(
      [],
    );
  },
);

test('packed: only into qcow2', async () => {
  const { backup, layer, host } = await setUp();
  await expect(backup({ compress: true })).rejects.toThrow(
    "Compression is not supported for this drive: node 'tgt' is raw",
  );
  await expect(
    backup({ compress: true, target: { target: '/new', format: 'raw', mode: 'absolute-paths' } }),
  ).rejects.toThrow('is raw');
  expect([host.files.inodes.get('/new')!.locks, layer.jobs.query()]).toEqual([[], []]);
});

test('packed, over what is there already, from a source with parts smaller than a cluster', async () => {
  const { backup, until, job, layer, host, qcow2 } = await setUp();
  host.files
    .bytes('/s.img')
    .fill(0, 130 * KiB, 140 * KiB)
    .fill(0, 256 * KiB, 320 * KiB);
  layer.graph.node('src').driver.blockStatus = async (offset, length) => ({
    length: Math.min(length, 4 * KiB),
    allocated: true,
    zero: host.files
      .bytes('/s.img')
      .subarray(offset, offset + Math.min(length, 4 * KiB))
      .every(byte => byte === 0),
  });
  await qcow2('/q', SIZE);
  for (let n = 0; n < 2; n++) {
    await backup({ compress: true, target: { target: '/q', format: 'qcow2', mode: 'existing' } });
    // Packing takes its time on another thread, whatever the clock says.
    await until(() => job('d0') === undefined, Infinity);
  }
  await layer.blockdevAdd({
    driver: 'qcow2',
    'node-name': 'q',
    'read-only': true,
    file: { driver: 'file', filename: '/q' },
  });
  expectSame(await layer.graph.node('q').pread(0, SIZE), host.files.bytes('/s.img'));
});
