/**
 * Goal: a mirror is a copy at every end that it may have, whatever the guest writes; and what it is
 * told in the wrong moment is refused. Method: a layer over simulated files, the guest's backend in
 * front.
 */
import { startCommit } from '../../../../src/block/jobs/start-commit.js';
import { startMirror } from '../../../../src/block/jobs/start.js';
import { parseDrive } from '../../../../src/block/options/options.js';
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
  const mirror = (more: object = {}) =>
    startMirror(bench.layer.startContext, { device: 'd0', target: 'tgt', sync: 'full', ...more });
  return { ...bench, guest, mirror };
}

test('full: becomes ready, follows the guest, and leaves a copy when it is cancelled', async () => {
  const { mirror, guest, until, job, named, host, layer } = await setUp();
  await mirror();
  await guest.pwrite(0, pattern(4 * KiB, 2));
  await until(() => job('d0')!.ready);
  expect(named('BLOCK_JOB_READY')).toEqual([
    expect.objectContaining({ type: 'mirror', device: 'd0', speed: 0 }),
  ]);
  expect(job('d0')!.offset).toBe(job('d0')!.len);
  await guest.pwrite(100 * KiB, pattern(8 * KiB, 3));
  await guest.writeZeroes(200 * KiB, 64 * KiB);
  layer.jobs.get('d0').cancel();
  await until(() => job('d0') === undefined);
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
  expectSame(host.files.durable('/t.img'), host.files.bytes('/s.img'));
  expect(named('BLOCK_JOB_COMPLETED')).toHaveLength(1);
  await guest.pwrite(0, pattern(512, 9));
  expect(host.files.bytes('/t.img').subarray(0, 512).equals(pattern(512, 9))).toBe(false);
  expect(named('JOB_STATUS_CHANGE').map(({ status }) => status)).toEqual([
    'created',
    'running',
    'ready',
    'waiting',
    'pending',
    'concluded',
    'null',
  ]);
});

test(
  'by bitmap: what is marked is copied, and nothing else; a good end forgets the marks, a bad ' +
    'one keeps them',
  async () => {
    const { mirror, guest, until, job, host, layer } = await setUp();
    const node = layer.graph.node('src');
    layer.bitmaps.add(node, 'b', { disabled: false });
    await guest.pwrite(130 * KiB, pattern(512, 3));
    await guest.writeZeroes(256 * KiB, 64 * KiB);
    expect(layer.queryBlock()[0].inserted!.bitmaps).toEqual([
      { name: 'b', count: 128 * KiB, granularity: 64 * KiB, recording: true, busy: false },
    ]);
    host.files.fault = (operation, path) => {
      if (operation === 'pwrite' && path === '/t.img')
        throw Object.assign(new Error('no'), { code: 'EIO' });
    };
    await mirror({ sync: 'incremental', bitmap: 'b' });
    expect(layer.queryBlock()[0].inserted!.bitmaps[0].busy).toBe(true);
    await guest.pwrite(0, pattern(512, 4));
    await until(() => job('d0') === undefined);
    expect(layer.bitmaps.list(node)[0].count).toBe(192 * KiB);
    host.files.fault = () => undefined;
    await mirror({ sync: 'incremental', bitmap: 'b' });
    await until(() => job('d0')!.ready);
    await guest.pwrite(400 * KiB, pattern(512, 5));
    layer.jobs.get('d0').cancel();
    await until(() => job('d0') === undefined);
    const wanted = Buffer.alloc(SIZE);
    for (const at of [0, 128, 256, 384])
      host.files.bytes('/s.img').copy(wanted, at * KiB, at * KiB, (at + 64) * KiB);
    expectSame(host.files.bytes('/t.img'), wanted);
    await expect(mirror({ sync: 'bitmap', bitmap: 'b', bitmapMode: 'always' })).rejects.toThrow(
      "'bitmap-mode': a mirror takes on-success",
    );
    await expect(mirror({ sync: 'incremental', bitmap: 'nope' })).rejects.toThrow(
      "Dirty bitmap 'nope' not found",
    );
  },
);

test('a write that comes while its piece is on the way to the target is not lost', async () => {
  const { mirror, guest, until, job, host, layer } = await setUp();
  const held: (() => void)[] = [];
  host.files.delay = () =>
    host.files.log.at(-1)!.startsWith('pwrite /t.img') && held.length === 0
      ? new Promise(resolve => held.push(resolve))
      : Promise.resolve();
  await mirror();
  await until(() => held.length > 0); // the old content has been read
  const [, , offset] = host.files.log.find(line => line.startsWith('pwrite /t.img'))!.split(' ');
  await guest.pwrite(Number(offset) + 512, pattern(512, 99));
  held[0]();
  await until(() => job('d0')!.ready);
  layer.jobs.get('d0').cancel();
  await until(() => job('d0') === undefined);
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
});

test('nor one that comes while a commit of the disk itself copies it', async () => {
  const bench = jobBench();
  const { host, layer, until, job } = bench;
  await bench.qcow2('/base', SIZE);
  await bench.qcow2('/top', SIZE, '/base');
  const guest = await bench.disk('file=/top,format=qcow2,id=d0,node-name=top');
  await guest.pwrite(0, pattern(128 * KiB, 1));
  const held: (() => void)[] = [];
  host.files.delay = () =>
    /^pwrite \/base \d+ (65536|131072)$/.test(host.files.log.at(-1)!) && held.length === 0
      ? new Promise(resolve => held.push(resolve))
      : Promise.resolve();
  await startCommit(layer.startContext, { device: 'd0' });
  await until(() => held.length > 0);
  await guest.pwrite(4 * KiB, pattern(512, 99));
  held[0]();
  await until(() => job('d0')!.ready);
  layer.jobs.get('d0').complete();
  await until(() => job('d0') === undefined);
  expect(layer.graph.find('top')).toBeUndefined();
  expectSame(await guest.pread(4 * KiB, 512), pattern(512, 99));
  expectSame(await guest.pread(64 * KiB, 64 * KiB), pattern(128 * KiB, 1).subarray(64 * KiB));
});

test(
  'complete: the target takes the place of the source, and what the guest wrote meanwhile goes ' +
    'there',
  async () => {
    const { mirror, guest, until, job, host, layer } = await setUp();
    await mirror();
    await until(() => job('d0')!.ready);
    layer.jobs.get('d0').complete();
    const writes = Promise.all(
      [1, 2, 3, 4].map(n => guest.pwrite(n * 70 * KiB, pattern(4 * KiB, n + 10))),
    );
    await until(() => job('d0') === undefined);
    await writes;
    await guest.pwrite(0, pattern(512, 77));
    expectSame(host.files.bytes('/t.img').subarray(0, 512), pattern(512, 77));
    for (const n of [1, 2, 3, 4])
      expectSame(
        host.files.bytes('/t.img').subarray(n * 70 * KiB, n * 70 * KiB + 4 * KiB),
        pattern(4 * KiB, n + 10),
      );
    expect(layer.queryBlock()[0].inserted!['node-name']).toBe('tgt');
    expect(layer.graph.find('src')).toBeUndefined();
    expect(host.files.inodes.get('/s.img')!.locks).toEqual([]);
  },
);

test('a child of a quorum, by the name of its node', async () => {
  const { host, layer, until, job, disk } = jobBench();
  for (const name of ['a', 'b', 'c'])
    host.files.put(`/${name}.img`, name === 'c' ? Buffer.alloc(SIZE) : pattern(SIZE));
  const guest = await disk(
    'id=q,driver=quorum,vote-threshold=2,children.0.driver=raw,' +
      'children.0.file.filename=/a.img,children.0.node-name=a,children.1.driver=raw,' +
      'children.1.file.filename=/b.img',
  );
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'c',
    file: { driver: 'file', filename: '/c.img' },
  });
  await startMirror(layer.startContext, { device: 'a', jobId: 'm', target: 'c', sync: 'full' });
  await until(() => job('m')!.ready);
  await guest.pwrite(0, pattern(512, 8));
  layer.jobs.get('m').complete();
  await until(() => job('m') === undefined);
  expect(layer.queryBlock()[0].inserted!.children[0]).toEqual({
    child: 'children.0',
    'node-name': 'c',
  });
  await guest.pwrite(4 * KiB, pattern(512, 9));
  expectSame(host.files.bytes('/c.img'), host.files.bytes('/b.img'));
  expect(
    host.files
      .bytes('/a.img')
      .subarray(4 * KiB, 4 * KiB + 512)
      .equals(pattern(512, 9)),
  ).toBe(false);
});

test('requests that wait while the disks change places go to the new one', async () => {
  const { mirror, guest, until, job, host, layer } = await setUp();
  await mirror();
  await until(() => job('d0')!.ready);
  const held: (() => void)[] = [];
  let flushes = 0;
  // The second flush of the target is the one with the source held: it stands still.
  host.files.delay = () =>
    host.files.log.at(-1)!.startsWith('fdatasync /t.img') && ++flushes === 2
      ? new Promise(resolve => held.push(resolve))
      : Promise.resolve();
  layer.jobs.get('d0').complete();
  await until(() => held.length > 0);
  const written = guest.pwrite(0, pattern(512, 55));
  const read = guest.pread(0, 512);
  await turns(5);
  expect(host.files.log.filter(line => line.startsWith('pwrite /s.img'))).toEqual([]);
  host.files.delay = () => Promise.resolve();
  for (const release of held) release();
  await until(() => job('d0') === undefined);
  await written;
  await read;
  expectSame(await guest.pread(0, 512), pattern(512, 55));
  expectSame(host.files.bytes('/t.img').subarray(0, 512), pattern(512, 55));
});

test(
  'a target too slow for the change of places, then a cancel: nothing is written to it after ' +
    'the end of the job',
  async () => {
    const { mirror, guest, until, job, host, layer, events } = await setUp();
    await mirror({ granularity: 4 * KiB });
    await until(() => job('d0')!.ready);
    const held: { path: string; go: () => void }[] = [];
    const release = (path: string) =>
      held.filter(one => one.path === path).forEach(({ go }) => go());
    host.files.delay = () => {
      const [, operation, path] = /^(\w+) (\S+)/.exec(host.files.log.at(-1)!)!;
      return operation === 'pwrite'
        ? new Promise(resolve => held.push({ path, go: resolve }))
        : Promise.resolve();
    };
    const writes = Promise.all(
      Array.from({ length: 60 }, (_, n) => guest.pwrite(n * 8 * KiB, pattern(512, n + 20))),
    );
    await turns(5);
    layer.jobs.get('d0').complete();
    await turns(20); // it waits for the guest's writes
    release('/s.img');
    await turns(20); // and now for the target
    await host.clock.advance(6000);
    layer.jobs.get('d0').cancel(true);
    host.files.delay = () => turns(2);
    let atEnd = 0;
    events.on('BLOCK_JOB_CANCELLED', () => void (atEnd = host.files.log.length));
    release('/t.img');
    await until(() => atEnd > 0);
    await writes;
    await turns(100);
    expect(host.files.log.slice(atEnd).filter(line => line.startsWith('pwrite /t.img'))).toEqual(
      [],
    );
  },
);

test('orders at the wrong moment are refused', async () => {
  const { mirror, until, job, layer } = await setUp();
  expect(() => layer.jobs.get('d0')).toThrow("Block job 'd0' not found");
  await mirror({ speed: 64 * KiB });
  const running = layer.jobs.get('d0');
  await until(() => job('d0')!.status === 'running');
  expect(() => running.complete()).toThrow("The active block job 'd0' cannot be completed");
  expect(() => running.resume()).toThrow("Can't resume a job that was not paused");
  expect(() => running.dismiss()).toThrow(
    "Job 'd0' in state 'running' cannot accept command verb 'dismiss'",
  );
  running.pause();
  expect(() => running.pause()).toThrow('already paused');
  expect(() => running.cancel()).toThrow('currently paused');
  await until(() => job('d0')!.status === 'paused');
  await expect(mirror({ jobId: 'other' })).rejects.toThrow(
    "Node 'src' is busy: block job 'd0' (mirror) works on it",
  );
  await expect(mirror()).rejects.toThrow("Job ID 'd0' already in use");
  running.cancel(true);
  await until(() => job('d0') === undefined);
});

test('its nodes stay while it runs, and it says which job has them', async () => {
  const { mirror, layer } = await setUp();
  await mirror({ speed: 64 * KiB });
  await expect(layer.driveDel('d0')).rejects.toThrow("'d0' is in use by block job 'd0' (mirror)");
  await expect(layer.driveDel('tgt')).rejects.toThrow("'tgt' is in use by block job 'd0' (mirror)");
  await expect(
    layer.addDrive(parseDrive('driver=raw,file.driver=raw,file.file=tgt,if=none')),
  ).rejects.toThrow("already written to by block job 'd0' (mirror)");
  await layer.close();
  expect(layer.jobs.query()).toEqual([]);
});

test('refused before anything is done', async () => {
  const { mirror, layer, host } = await setUp();
  host.files.put('/small.img', Buffer.alloc(64 * KiB));
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'small',
    file: { driver: 'file', filename: '/small.img' },
  });
  await layer.blockdevAdd({
    driver: 'raw',
    'node-name': 'ro',
    'read-only': true,
    file: { driver: 'file', filename: '/s.img', locking: 'off' },
  });
  await expect(mirror({ target: 'small' })).rejects.toThrow('different sizes: 524288 and 65536');
  await expect(mirror({ target: 'ro' })).rejects.toThrow("node 'ro' is read-only");
  await expect(mirror({ target: 'src' })).rejects.toThrow("part of 'd0'");
  await expect(mirror({ device: 'src' })).rejects.toThrow('An explicit job ID is required');
  await expect(mirror({ jobId: '1 2' })).rejects.toThrow("Invalid job ID '1 2'");
  await expect(mirror({ granularity: 1000 })).rejects.toThrow('power of 2');
  await expect(mirror({ sync: 'incremental' })).rejects.toThrow("needs parameter 'bitmap'");
  await expect(mirror({ sync: 'incremental', bitmap: 'b' })).rejects.toThrow(
    "Dirty bitmap 'b' not found",
  );
  expect(layer.jobs.query()).toEqual([]);
});

test(
  'a target that fails: report ends the job, the guest goes on; stop waits for the user; enospc ' +
    'tells them apart',
  async () => {
    const { mirror, guest, until, job, named, host, layer } = await setUp();
    let code: string | undefined = 'EIO';
    host.files.fault = (operation, path) => {
      if (code !== undefined && operation === 'pwrite' && path === '/t.img')
        throw Object.assign(new Error('no'), { code });
    };
    await mirror();
    await until(() => job('d0') === undefined);
    expect(named('BLOCK_JOB_ERROR')).toEqual(
      [{ device: 'd0', operation: 'write', action: 'report' }].concat(
        named('BLOCK_JOB_ERROR').slice(1) as never,
      ),
    );
    expect(named('BLOCK_JOB_COMPLETED')).toEqual([
      expect.objectContaining({ error: expect.stringContaining('no') }),
    ]);
    await guest.pwrite(0, pattern(512, 4));
    code = 'ENOSPC';
    await mirror({ onTargetError: 'enospc' });
    await until(() => job('d0')!.status === 'paused');
    expect(job('d0')).toMatchObject({ paused: true, ioStatus: 'nospace' });
    code = undefined;
    layer.jobs.get('d0').resume();
    await until(() => job('d0')!.ready);
    expect(job('d0')).toMatchObject({ paused: false, ioStatus: 'ok' });
    layer.jobs.get('d0').cancel();
    await until(() => job('d0') === undefined);
    expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
  },
);

test('ignore tries again', async () => {
  const { mirror, until, job, host, named } = await setUp();
  let failures = 5;
  host.files.fault = (operation, path) => {
    if (operation === 'pread' && path === '/s.img' && failures-- > 0)
      throw Object.assign(new Error('bad sector'), { code: 'EIO' });
  };
  await mirror({ onSourceError: 'ignore' });
  await until(() => job('d0')!.ready);
  expect(
    named('BLOCK_JOB_ERROR').every(
      ({ action, operation }) => action === 'ignore' && operation === 'read',
    ),
  ).toBe(true);
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
});

test('speed: so many bytes a second, and it can be changed', async () => {
  const { mirror, until, job, host, layer } = await setUp();
  await mirror({ speed: 64 * KiB, granularity: 16 * KiB });
  const start = host.clock.nowMs();
  await until(() => job('d0')!.offset >= 256 * KiB);
  const tookMs = host.clock.nowMs() - start;
  expect(tookMs).toBeGreaterThan(2500);
  layer.jobs.get('d0').setSpeed(0);
  await until(() => job('d0')!.ready, 200);
});

test('auto-finalize and auto-dismiss off: the job waits for job-finalize and job-dismiss', async () => {
  const { mirror, until, job, named, layer, host, guest } = await setUp();
  await mirror({ autoFinalize: false, autoDismiss: false });
  await until(() => job('d0')!.ready);
  layer.jobs.get('d0').cancel();
  await until(() => job('d0')!.status === 'pending');
  expect(named('BLOCK_JOB_PENDING')).toEqual([{ type: 'mirror', id: 'd0' }]);
  await guest.pwrite(0, pattern(512, 5));
  layer.jobs.get('d0').finalize();
  await until(() => job('d0')!.status === 'concluded');
  expectSame(host.files.bytes('/t.img'), host.files.bytes('/s.img'));
  layer.jobs.get('d0').dismiss();
  expect(layer.jobs.query()).toEqual([]);
});

test('COLO and jobs exclude each other by name', async () => {
  const { mirror, layer } = await setUp();
  await mirror({ speed: 1024 });
  expect(() => layer.primaryDisks()).toThrow(
    "COLO is not possible while block job 'd0' (mirror) runs",
  );
});
