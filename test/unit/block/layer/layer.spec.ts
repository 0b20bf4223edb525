/**
 * Goal: what the monitor can do to the graph, and the sentence for each thing that it cannot.
 * Method: a layer over simulated files.
 */
import { ioError } from '../../../../src/block/contract/io-error.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern } from '../../../support/block-host.js';
import { attachedPair, KiB } from '../../../support/block-pair.js';
import { layerSetUp, quorumDrive } from '../../../support/block-layer.js';

test('the file below a format is named; a quorum, which has several, names none', async () => {
  const { layer } = await layerSetUp();
  await layer.addDrive(parseDrive('file=/b.img,format=raw,id=d0,if=none'));
  await layer.addDrive(parseDrive(quorumDrive));
  expect(layer.queryBlock().map(({ device, inserted }) => [device, inserted?.filename])).toEqual([
    ['d0', '/b.img'],
    ['q', ''],
  ]);
});

describe('one writer', () => {
  test('the error names the other user', async () => {
    const { layer } = await layerSetUp();
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

  test('a locked file is refused, and everything that was opened on the way is closed', async () => {
    const { layer, host } = await layerSetUp();
    await layer.addDrive(parseDrive('file=/b.img,format=raw,id=d0,if=none'));
    await expect(
      layer.addDrive(
        parseDrive(`${quorumDrive},children.1.file.filename=/b.img,children.1.driver=raw`),
      ),
    ).rejects.toThrow("'/b.img' is locked");
    expect(host.files.inodes.get('/a.img')!.locks).toEqual([]);
    expect(layer.queryNamedBlockNodes().map(n => n.drv)).toEqual(['file', 'raw']);
  });
});

describe('names', () => {
  test('an id or node name is taken once; made-up ones do not collide', async () => {
    const { layer } = await layerSetUp();
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
    const { layer, host } = await layerSetUp();
    host.files.put('/q.img', Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(508)]));
    await expect(layer.addDrive(parseDrive('file=/q.img'))).rejects.toThrow('looks like qcow2');
    await layer.addDrive(parseDrive('file=/q.img,format=raw'));
  });
});

describe('the disk of a device that names a node', () => {
  async function withNode() {
    const env = await layerSetUp();
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
    expect(() => layer.primaryDisks()).toThrow("device 'vd0' is writable and not replicated");
    await expect(layer.addDrive(parseDrive('file=/b.img,format=raw,id=n0'))).rejects.toThrow(
      "'n0' is in use already",
    );
    await layer.resize('n0', 128 * KiB);
    expect(disk.length).toBe(128 * KiB);
  });

  test('a second writer, and an unknown name', async () => {
    const { layer } = await withNode();
    layer.claim('n0', 'vd0');
    expect(() => layer.claim('n0', 'vd1')).toThrow(
      "node 'n0' is already written to by device 'vd0', so device 'vd1' cannot write to it",
    );
    expect(() => layer.claim('nope', 'vd1')).toThrow("Device 'nope' not found");
    expect(layer.queryBlock().map(({ qdev }) => qdev)).toEqual(['vd0']);
  });

  test('read-only nodes serve several', async () => {
    const { layer } = await layerSetUp();
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
    const { layer } = await layerSetUp();
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
    const env = await layerSetUp();
    await env.layer.addDrive(parseDrive(quorumDrive));
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
    expect(layer.queryBlock()[0].inserted!.children).toEqual([
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
    await pair.s.start();
    await pair.p.start();
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
    const { layer } = await layerSetUp();
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
    const { layer, host, events } = await layerSetUp();
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
