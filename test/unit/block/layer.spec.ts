/**
 * Goal: what the monitor can do to the graph, and the sentence for each thing that it cannot.
 * Method: a layer over simulated files.
 */
import { Events } from '../../../src/base/events.js';
import { unpaired } from '../../../src/block/record/image-record.js';
import { ioError } from '../../../src/block/contract/io-error.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { encodeRecord } from '../../../src/block/record/pair-record.js';
import type { QmpEvents } from '../../../src/qapi/types.js';
import { expectSame, pattern, testHost } from '../../support/block-host.js';
import { attachedPair, checkpoint, KiB } from '../../support/block-pair.js';

async function setUp() {
  const host = testHost();
  for (const name of ['a', 'b', 'c']) host.files.put(`/${name}.img`, pattern(64 * KiB));
  const events = new Events<QmpEvents>();
  const layer = new BlockLayer(host, events);
  return { host, events, layer };
}
const quorum =
  'if=virtio,id=q,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
  'children.0.file.filename=/a.img,children.0.driver=raw';

test('the file below a format is named; a quorum, which has several, names none', async () => {
  const { layer } = await setUp();
  await layer.addDrive(parseDrive('file=/b.img,format=raw,id=d0,if=none'));
  await layer.addDrive(parseDrive(quorum));
  expect(layer.queryBlock().map(({ device, inserted }) => [device, inserted.filename])).toEqual([
    ['d0', '/b.img'],
    ['q', ''],
  ]);
});

describe('one writer', () => {
  test('the error names the other user', async () => {
    const { layer } = await setUp();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,node-name=n0,if=none'));
    layer.claim('d0', 'disk0');
    expect(() => layer.claim('d0', 'disk1')).toThrow(
      "drive 'd0' is already in use by device 'disk0'",
    );
    await layer.nbd.start({ kind: 'tcp', host: '0', port: 1 });
    expect(() => layer.nbdServerAdd({ device: 'd0', writable: true })).toThrow(
      "node 'n0' is already written to by drive 'd0', so NBD export 'd0' cannot write to it",
    );
    layer.nbdServerAdd({ device: 'd0' });
    expect(layer.nbd.describe()).toMatchObject([{ name: 'd0', writable: false }]);
    // file= on a drive is a file name
    await expect(layer.addDrive(parseDrive('driver=raw,file=n0,id=d1,if=none'))).rejects.toThrow();
    await expect(
      layer.blockdevAdd({ driver: 'raw', file: 'n0', 'node-name': 'n1' }),
    ).rejects.toThrow("already written to by drive 'd0'");
    expect(layer.graph.find('n1')).toBeUndefined();
  });

  test(
    'a locked file is refused, and everything that was opened on the way is ' + 'closed',
    async () => {
      const { layer, host } = await setUp();
      await layer.addDrive(parseDrive('file=/b.img,format=raw,id=d0,if=none'));
      await expect(
        layer.addDrive(
          parseDrive(`${quorum},children.1.file.filename=/b.img,children.1.driver=raw`),
        ),
      ).rejects.toThrow("'/b.img' is locked");
      expect(host.files.inodes.get('/a.img')!.locks).toEqual([]);
      expect(layer.queryNamedBlockNodes().map(n => n.drv)).toEqual(['file', 'raw']);
    },
  );
});

describe('names', () => {
  test('an id or node name is taken once; made-up ones do not collide', async () => {
    const { layer } = await setUp();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,node-name=n0'));
    await expect(layer.addDrive(parseDrive('file=/b.img,format=raw,id=d0'))).rejects.toThrow(
      "'d0' is in use already",
    );
    await expect(layer.addDrive(parseDrive('file=/b.img,format=raw,id=n0'))).rejects.toThrow(
      "'n0' is in use already",
    );
    await expect(layer.addDrive(parseDrive('file=/b.img,format=raw,node-name=n0'))).rejects.toThrow(
      "'n0' is in use already",
    );
    expect((await layer.addDrive(parseDrive('file=/b.img,format=raw'))).id).toBe('virtio0');
    expect(() => layer.backend('nope')).toThrow("Device 'nope' not found");
  });

  test('an image that looks like qcow2 is not taken for raw by accident', async () => {
    const { layer, host } = await setUp();
    host.files.put('/q.img', Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(508)]));
    await expect(layer.addDrive(parseDrive('file=/q.img'))).rejects.toThrow('looks like qcow2');
    await layer.addDrive(parseDrive('file=/q.img,format=raw'));
  });
});

describe('the disk of a device that names a node', () => {
  async function withNode() {
    const env = await setUp();
    await env.layer.blockdevAdd({
      driver: 'raw',
      'node-name': 'n0',
      file: { driver: 'file', filename: '/a.img' },
    });
    return env;
  }

  test('has no id; its node and its device are its names', async () => {
    const { layer } = await withNode();
    expect(layer.find('n0').drive).toBeUndefined();
    const disk = layer.claim('n0', 'vd0', { werror: 'ignore', rerror: 'stop', writeCache: false });
    expect([disk.id, disk.nodeName, disk.errorAction('write', ioError('EIO', 'x'))]).toEqual([
      '',
      'n0',
      'ignore',
    ]);
    expect(layer.queryBlock()).toMatchObject([
      {
        device: '',
        qdev: 'vd0',
        cache: 'writethrough',
        inserted: { 'node-name': 'n0', users: ["device 'vd0'"] },
      },
    ]);
    expect(layer.backend('vd0')).toBe(disk);
    expect(layer.find('n0').drive).toBe('n0');
    expect(layer.manifest()).toEqual([{ id: 'n0', length: 64 * KiB }]);
    await expect(layer.driveDel('n0')).rejects.toThrow("'n0' is in use by device 'vd0'");
    await expect(layer.driveDel('vd0')).rejects.toThrow("Device 'vd0' not found");
    expect(() => layer.replicated('primary')).toThrow(
      "device 'vd0' is writable and not replicated",
    );
    await expect(layer.addDrive(parseDrive('file=/b.img,format=raw,id=n0'))).rejects.toThrow(
      "'n0' is in use already",
    );
    await layer.resize('n0', 128 * KiB);
    expect(disk.length).toBe(128 * KiB);
  });

  test('a second writer, and a name that nobody has', async () => {
    const { layer } = await withNode();
    layer.claim('n0', 'vd0');
    expect(() => layer.claim('n0', 'vd1')).toThrow(
      "node 'n0' is already written to by device 'vd0', so device 'vd1' cannot write to it",
    );
    expect(() => layer.claim('nope', 'vd1')).toThrow("Device 'nope' not found");
    expect(layer.queryBlock().map(({ qdev }) => qdev)).toEqual(['vd0']);
  });

  test('read-only nodes serve several', async () => {
    const { layer } = await setUp();
    await layer.blockdevAdd({
      driver: 'raw',
      'node-name': 'ro',
      'read-only': true,
      file: { driver: 'file', filename: '/a.img' },
    });
    const disks = ['vd0', 'vd1'].map(device => layer.claim('ro', device));
    expect([disks.map(disk => disk.readOnly), layer.manifest().map(({ id }) => id)]).toEqual([
      [true, true],
      ['ro', 'ro'],
    ]);
    await expect(disks[0].pwrite(0, pattern(512))).rejects.toThrow("device 'vd0' is read-only");
  });

  test('write-through: every write is flushed; no-flush below: none is', async () => {
    const { layer, host } = await withNode();
    await layer.blockdevAdd({
      driver: 'raw',
      'node-name': 'n1',
      cache: { 'no-flush': true },
      file: { driver: 'file', filename: '/b.img' },
    });
    await layer.claim('n0', 'vd0', { writeCache: false }).pwrite(0, pattern(512));
    const hasty = layer.claim('n1', 'vd1', { writeCache: false });
    await hasty.pwrite(0, pattern(512));
    await hasty.flush();
    expect(
      host.files.log.filter(line => line.startsWith('fdatasync')).map(line => line.split(' ')[1]),
    ).toEqual(['/a.img']);
  });

  test('the drive keeps what its device does not say', async () => {
    const { layer } = await setUp();
    await layer.addDrive(
      parseDrive('file=/a.img,format=raw,id=d0,if=none,werror=report,rerror=ignore,cache=unsafe'),
    );
    const disk = layer.claim('d0', 'vd0', { werror: 'ignore', writeCache: true });
    expect([
      disk.errorAction('write', ioError('EIO', 'x')),
      disk.errorAction('read', ioError('EIO', 'x')),
      layer.queryBlock()[0].cache,
    ]).toEqual(['ignore', 'ignore', 'unsafe']);
  });

  test('everything is closed at the end', async () => {
    const { layer, host } = await withNode();
    layer.claim('n0', 'vd0');
    await layer.close();
    expect([layer.queryNamedBlockNodes(), host.files.inodes.get('/a.img')!.locks]).toEqual([
      [],
      [],
    ]);
  });
});

describe('x-blockdev-change', () => {
  async function withSpare() {
    const env = await setUp();
    await env.layer.addDrive(parseDrive(quorum));
    await env.layer.driveAdd('file=/b.img,format=raw,node-name=spare,if=none,id=s0');
    return env;
  }

  test('adds at the lowest free name, reuses it, and writes to both', async () => {
    const { layer, host } = await withSpare();
    const guest = layer.claim('q', 'disk0');
    await guest.pwrite(0, pattern(512, 9));
    expect(await layer.blockdevChange({ parent: 'q', node: 'spare' })).toBe('children.1');
    await guest.pwrite(512, pattern(512, 10));
    expectSame(host.files.bytes('/b.img').subarray(512, 1024), pattern(512, 10));
    expect(await layer.blockdevChange({ parent: 'q', child: 'children.1' })).toBe('children.1');
    await guest.pwrite(1024, pattern(512, 11));
    expect(host.files.bytes('/b.img').subarray(1024, 1536).equals(pattern(512, 11))).toBe(false);
    expect(await layer.blockdevChange({ parent: 'q', node: 'spare' })).toBe('children.1');
    expect(layer.queryBlock()[0].inserted.children).toEqual([
      { child: 'children.0', 'node-name': expect.any(String) },
      { child: 'children.1', 'node-name': 'spare' },
    ]);
  });

  test('each mistake has its own sentence', async () => {
    const { layer } = await withSpare();
    const change = (c: { parent: string; child?: string; node?: string }) =>
      layer.blockdevChange(c);
    await expect(change({ parent: 'q' })).rejects.toThrow("one of 'child' and 'node' is needed");
    await expect(change({ parent: 'q', child: 'children.0', node: 'spare' })).rejects.toThrow(
      'exclude each other',
    );
    await expect(change({ parent: 'q', child: 'children.7' })).rejects.toThrow(
      "no child 'children.7'",
    );
    await expect(change({ parent: 'q', node: 'nope' })).rejects.toThrow("there is no node 'nope'");
    await expect(change({ parent: 'nope', node: 'spare' })).rejects.toThrow(
      "there is no node or drive 'nope'",
    );
    await expect(change({ parent: 's0', child: 'file' })).rejects.toThrow('gives no child away');
    await expect(change({ parent: 'q', child: 'children.0' })).rejects.toThrow(
      'fewer voting children than its vote-threshold, 1',
    );
    await change({ parent: 'q', node: 'spare' });
    await expect(change({ parent: 'q', node: 'spare' })).rejects.toThrow(
      "'spare' is in use already, by node",
    );
    await expect(layer.driveDel('s0')).rejects.toThrow("'s0' is in use by node");
  });

  test('the replication child cannot make up the threshold, and can always go', async () => {
    const pair = await attachedPair();
    await expect(
      pair.primary.blockdevChange({ parent: 'colo-disk0', child: 'children.0' }),
    ).rejects.toThrow('fewer voting children');
    await pair.s.start('secondary');
    await pair.p.start('primary');
    await pair.primary.blockdevChange({ parent: 'colo-disk0', child: 'children.1' });
    await pair.primary.driveDel('node0');
    expect(pair.p.error()?.message).toContain('has been taken out');
    await pair.pvm.pwrite(0, pattern(512, 3));
    expect(pair.primary.graph.find('node0')).toBeUndefined();
  });

  test('lengths must agree', async () => {
    const { layer, host } = await withSpare();
    host.files.put('/long.img', Buffer.alloc(128 * KiB));
    await layer.driveAdd('file=/long.img,format=raw,node-name=long,if=none');
    await expect(layer.blockdevChange({ parent: 'q', node: 'long' })).rejects.toThrow(
      "node 'long' has 131072 bytes, quorum 'q' has 65536",
    );
  });
});

describe('drive_add, drive_del', () => {
  test('only if=none, and addr is not known', async () => {
    const { layer } = await setUp();
    await expect(layer.driveAdd('file=/a.img,format=raw,if=virtio')).rejects.toThrow(
      "Can't hot-add drive to type virtio",
    );
    await expect(layer.driveAdd('file=/a.img,format=raw,if=none,addr=3')).rejects.toThrow(
      "parameter 'addr' is not known",
    );
    await expect(
      layer.driveAdd('file=/a.img,format=raw,if=none', { noBackend: true }),
    ).rejects.toThrow("'node-name' needs to be specified");
    await layer.driveAdd('file=/a.img,format=raw,if=none,node-name=n', { noBackend: true });
    expect(layer.list()).toEqual([]);
    await layer.driveDel('n');
    expect(layer.queryNamedBlockNodes()).toEqual([]);
  });

  test('the guest of a deleted drive gets errors, and the file is free', async () => {
    const { layer, host, events } = await setUp();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0'));
    const guest = layer.claim('d0', 'disk0');
    const errors: unknown[] = [];
    events.on('BLOCK_IO_ERROR', e => errors.push(e));
    await layer.driveDel('d0');
    await expect(guest.pread(0, 512)).rejects.toThrow("drive 'd0' has been deleted");
    const failure: unknown = await guest
      .pwrite(0, Buffer.alloc(512))
      .catch((error: unknown) => error);
    expect(guest.errorAction('write', failure)).toBe('report');
    expect(errors).toMatchObject([
      {
        device: 'd0',
        operation: 'write',
        action: 'report',
        nospace: false,
        reason: "drive 'd0' has been deleted",
      },
    ]);
    expect(host.files.inodes.get('/a.img')!.locks).toEqual([]);
    await expect(layer.driveDel('d0')).rejects.toThrow("Device 'd0' not found");
  });
});

describe('options of every node, and of the cache', () => {
  test(
    'detect-zeroes turns written zeroes into holes; discard=ignore keeps what was ' + 'discarded',
    async () => {
      const { layer, host } = await setUp();
      await layer.addDrive(
        parseDrive('file=/a.img,format=raw,id=d0,detect-zeroes=on,discard=ignore'),
      );
      const guest = layer.claim('d0', 'disk0');
      await guest.pwrite(0, Buffer.alloc(4096, 1));
      await guest.discard(0, 1024);
      host.files.log.length = 0;
      await guest.pwrite(1024, Buffer.alloc(1024), { fua: true });
      expect(host.files.log.map(line => line.split(' ')[0])).toEqual(['punchHole', 'fdatasync']);
      expectSame(
        await guest.pread(0, 2560),
        Buffer.concat([Buffer.alloc(1024, 1), Buffer.alloc(1024), Buffer.alloc(512, 1)]),
      );
      expect(() => parseDrive('file=/a,detect-zeroes=unmap,discard=ignore')).toThrow(
        "'detect-zeroes': unmap is not allowed with discard=ignore",
      );
      expect(() => parseDrive('file=/a,detect-zeroes=maybe')).toThrow(
        "'detect-zeroes' takes off, on, unmap",
      );
    },
  );

  test.each([
    ['', 'writeback'],
    ['cache=unsafe', 'unsafe'],
    ['cache.writeback=off', 'writethrough'],
    ['cache.no-flush=on', 'unsafe'],
    ['cache=unsafe,cache.no-flush=off', 'writeback'],
    ['cache.direct=off', 'writeback'],
  ])('%s is %s', (options, mode) =>
    expect(parseDrive(`file=/a,${options}`.replace(/,$/, '')).cache).toBe(mode),
  );
  test.each([
    ['cache=fast', "'cache' takes"],
    ['cache.fast=on', "'cache.fast' is not known"],
  ])('%s is refused', (options, message) =>
    expect(() => parseDrive(`file=/a,${options}`)).toThrow(message),
  );

  test(
    'auto-read-only: what may not be written is opened for reading, but only if it was asked ' +
      'for',
    async () => {
      const { layer, host } = await setUp();
      const { open } = host.files;
      host.files.open = (path, options) =>
        options.readOnly
          ? open.call(host.files, path, options)
          : Promise.reject(Object.assign(new Error('denied'), { code: 'EACCES' }));
      await expect(layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0'))).rejects.toThrow(
        'denied',
      );
      await layer.addDrive(
        parseDrive('driver=raw,file.filename=/a.img,file.auto-read-only=on,id=d0'),
      );
      expect(layer.backend('d0').readOnly).toBe(true);
    },
  );

  test('a flush that failed is not made good by the next one', async () => {
    const { layer, host } = await setUp();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0'));
    const guest = layer.claim('d0', 'disk0');
    host.files.fault = operation => {
      if (operation === 'fdatasync') throw new Error('medium error');
    };
    await expect(guest.flush()).rejects.toThrow('medium error');
    host.files.fault = () => undefined;
    await expect(guest.flush()).rejects.toThrow(
      "an earlier flush of '/a.img' failed (medium error): what was written before may be lost",
    );
    await expect(guest.pwrite(0, Buffer.alloc(512), { fua: true })).rejects.toThrow(
      'an earlier flush',
    );
  });
});

describe('what an error does to the guest', () => {
  const nospace = ioError('ENOSPC', 'full');
  const broken = ioError('EIO', 'broken');
  test.each<[string, ('read' | 'write')[], string[]]>([
    ['', ['write', 'read'], ['stop report', 'report report']],
    [',werror=report,rerror=stop', ['write', 'read'], ['report report', 'stop stop']],
    [',werror=ignore,rerror=ignore', ['write', 'read'], ['ignore ignore', 'ignore ignore']],
    [',werror=stop', ['write', 'read'], ['stop stop', 'report report']],
  ])('%s', async (options, operations, wanted) => {
    const { layer, events } = await setUp();
    let stops = 0;
    layer.stopVm = () => void stops++;
    await layer.addDrive(parseDrive(`file=/a.img,format=raw,id=d0${options}`));
    const guest = layer.claim('d0', 'disk0');
    expect(
      operations.map(operation =>
        [nospace, broken].map(error => guest.errorAction(operation, error)).join(' '),
      ),
    ).toEqual(wanted);
    expect(stops).toBe(
      wanted
        .join(' ')
        .split(' ')
        .filter(action => action === 'stop').length,
    );
    expect(layer.queryBlock()[0]['io-status']).not.toBe(stops > 0 ? 'ok' : 'failed');
    events.emit('RESUME', {});
    expect(layer.queryBlock()[0]['io-status']).toBe('ok');
  });

  test('werror and rerror take their words only', () => {
    expect(() => parseDrive('file=/a,werror=explode')).toThrow(
      "'werror' takes report, ignore, stop, enospc",
    );
    expect(() => parseDrive('file=/a,rerror=enospc')).toThrow(
      "'rerror' takes report, ignore, stop",
    );
  });
});

describe('an image that holds part of an epoch', () => {
  async function marked() {
    const env = await setUp();
    env.host.files.inodes.get('/a.img')!.label = encodeRecord({ ...unpaired, partial: true });
    return env;
  }

  test('is no boot disk, alone, below a quorum, or as a late child', async () => {
    const { layer } = await marked();
    const refusal =
      "image '/a.img' holds part of an epoch: its process ended before it was made whole";
    await expect(layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0'))).rejects.toThrow(
      refusal,
    );
    await expect(layer.addDrive(parseDrive(quorum))).rejects.toThrow(refusal);
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,if=none,node-name=n0'));
    expect(() => layer.claim('d0', 'disk0')).toThrow(refusal);
    await layer.addDrive(parseDrive(quorum.replace('/a.img', '/b.img')));
    await expect(layer.blockdevChange({ parent: 'q', node: 'n0' })).rejects.toThrow(refusal);
  });

  test('may be a secondary disk again, but nobody can vouch for it', async () => {
    const { layer } = await marked();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,if=none'));
    await layer.addDrive(
      parseDrive('driver=replication,mode=secondary,file=d0,id=r0,x-assume-in-sync=on'),
    );
    layer.claim('r0', 'disk0');
    await expect(layer.replicated('secondary')[0].start('secondary')).rejects.toThrow(
      'x-assume-in-sync cannot be right',
    );
    await layer.driveDel('r0');
    await layer.addDrive(parseDrive('driver=replication,mode=secondary,file=d0,id=r1'));
    layer.claim('r1', 'disk0');
    await layer.replicated('secondary')[0].start('secondary');
  });
});

describe('what COLO covers', () => {
  test('every writable disk that a device holds; a plain one is named', async () => {
    const { layer } = await setUp();
    await layer.addDrive(parseDrive(quorum));
    await layer.addDrive(parseDrive('file=/b.img,format=raw,id=plain'));
    await layer.addDrive(parseDrive('file=/c.img,format=raw,id=cd,readonly=on'));
    layer.claim('q', 'disk0');
    layer.claim('cd', 'disk2');
    const [disk] = layer.replicated('primary');
    await expect(disk.start('primary')).rejects.toThrow('no child supports block replication');
    expect(layer.replicated('primary')[0]).toBe(disk);
    expect(() => layer.replicated('secondary')).toThrow(
      "drive 'q' is writable and not replicated: in secondary mode",
    );
    layer.claim('plain', 'disk1');
    expect(() => layer.replicated('primary')).toThrow(
      "drive 'plain' is writable and not replicated",
    );
  });

  test(
    'both sides know a disk by the name of the export that joins them, whatever its drives are ' +
      'called',
    async () => {
      const pair = await attachedPair();
      expect([pair.p.name, pair.s.name]).toEqual(['colo-disk0', 'colo-disk0']);
      expect(pair.primary.manifest()).toEqual(pair.secondary.manifest());
      await pair.s.start('secondary');
      await pair.secondary.nbd.stop();
      expect(pair.s.name).toBe('colo-disk0');
    },
  );

  test('needs fifo, and one follower only', async () => {
    const pair = await attachedPair();
    await pair.primary.driveAdd(
      'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
        'file.export=colo-disk0,node-name=second,if=none',
    );
    await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'second' });
    await expect(pair.p.start('primary')).rejects.toThrow(
      'too many children support block replication',
    );
    const { layer } = await setUp();
    await layer.addDrive(parseDrive(quorum.replace('read-pattern=fifo,', '')));
    layer.claim('q', 'disk0');
    await expect(layer.replicated('primary')[0].start('primary')).rejects.toThrow(
      'needs read-pattern=fifo',
    );
  });
});

test('query-block and query-named-block-nodes show children and replication', async () => {
  const pair = await attachedPair();
  expect(pair.primary.queryBlock()[0]).toMatchObject({
    device: 'colo-disk0',
    qdev: 'virtio-disk0',
    inserted: { drv: 'quorum', details: { 'read-pattern': 'fifo' } },
  });
  expect(pair.primary.queryNamedBlockNodes()).toContainEqual(
    expect.objectContaining({
      'node-name': 'node0',
      drv: 'replication',
      details: expect.objectContaining({ mode: 'primary', state: 'none' }),
    }),
  );
  expect(pair.secondary.queryBlock().find(b => b.device === 'active-disk0')).toMatchObject({
    inserted: { details: { mode: 'secondary', state: 'none', 'secondary-disk': 'node0' } },
  });
});

test('cache modes: unsafe never syncs, writethrough always does', async () => {
  const { layer, host } = await setUp();
  for (const [cache, file] of [
    ['unsafe', 'a'],
    ['writethrough', 'b'],
    ['writeback', 'c'],
  ]) {
    await layer.addDrive(parseDrive(`file=/${file}.img,format=raw,id=${cache},cache=${cache}`));
    const guest = layer.claim(cache, cache);
    await guest.pwrite(0, pattern(512, 2));
    await guest.pwrite(512, pattern(512, 3), { fua: true });
    await guest.flush();
  }
  const syncs = (file: string) =>
    host.files.log.filter(line => line.startsWith(`fdatasync /${file}.img`)).length;
  expect([syncs('a'), syncs('b'), syncs('c')]).toEqual([0, 3, 2]);
});

test('throttling: what passes the limit waits', async () => {
  const { layer, host } = await setUp();
  await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,throttling.bps-total=40960'));
  const guest = layer.claim('d0', 'disk0');
  let done = 0;
  const all = Promise.all(Array.from({ length: 4 }, () => guest.pread(0, 4096).then(() => done++)));
  await host.clock.advance(0);
  expect(done).toBe(2);
  await host.clock.advance(100);
  expect(done).toBe(3);
  await host.clock.advance(100);
  await all;
});

test('index names a drive without an id, and is taken once', async () => {
  const host = testHost();
  const layer = new BlockLayer(host);
  for (const name of ['/a', '/b', '/c']) host.files.put(name, Buffer.alloc(512));
  expect((await layer.addDrive(parseDrive('file=/a,format=raw,index=2'))).id).toBe('virtio2');
  await expect(layer.addDrive(parseDrive('file=/b,format=raw,id=b,index=2'))).rejects.toThrow(
    'drive with if=virtio, index=2 exists',
  );
  await layer.addDrive(parseDrive('file=/c,format=raw,id=c,index=2,if=none'));
});

test(
  'drive_add -n makes a node, so it needs no if=none; without -n it makes a disk that nobody ' +
    'could plug',
  async () => {
    const pair = await attachedPair();
    const line =
      'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
      'file.export=colo-disk0,node-name=other';
    await expect(pair.primary.driveAdd(line)).rejects.toThrow(
      "Can't hot-add drive to type virtio: say if=none",
    );
    await pair.primary.driveAdd(line, { noBackend: true });
    expect(pair.primary.graph.find('other')).toBeDefined();
    expect(pair.primary.list().map(({ id }) => id)).not.toContain('virtio0');
  },
);

describe('a quorum above the replication node of the secondary', () => {
  const above = (topId: string) =>
    'if=virtio,id=active-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
    'children.0.driver=replication,' +
    `children.0.mode=secondary,children.0.top-id=${topId},children.0.file=colo-disk0`;

  test('is the secondary of a pair, takes over, and is the primary of the next', async () => {
    const pair = await attachedPair({ secondaryDrive: above('active-disk0') });
    pair.p.claim();
    pair.s.claim();
    await pair.s.start('secondary');
    await pair.p.start('primary');
    await pair.pvm.pwrite(0, pattern(4096, 5));
    await checkpoint(pair);
    expectSame(await pair.svm.pread(0, 4096), pattern(4096, 5));
    expect(() => pair.secondary.replicated('primary')).toThrow(
      'in primary mode its driver must be quorum',
    );
    await pair.s.stop(true);
    const [next] = pair.secondary.replicated('primary');
    expect(() => next.claim()).toThrow('no child supports block replication');
    await pair.svm.pwrite(0, pattern(512, 6));
    expectSame(pair.secondaryHost.files.bytes('/s.img').subarray(0, 512), pattern(512, 6));
  });

  test('top-id names the drive, or is wrong', async () => {
    await expect(attachedPair({ secondaryDrive: above('colo-disk9') })).rejects.toThrow(
      "top-id 'colo-disk9' is not the drive above",
    );
  });
});
