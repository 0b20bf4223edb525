/**
 * Goal: which disks COLO covers, which image is no boot disk, and what queries show of both.
 * Method: a layer over simulated files, and pairs of them.
 */
import { unpaired } from '../../../../src/block/record/image-record.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { encodePairRecord } from '../../../../src/block/record/pair-record.js';
import { expectSame, pattern } from '../../../support/block-host.js';
import { attachedPair, checkpoint } from '../../../support/block-pair.js';
import { layerSetUp, quorumDrive } from '../../../support/block-layer.js';

describe('an image that holds part of an epoch', () => {
  async function marked() {
    const env = await layerSetUp();
    env.host.files.inodes.get('/a.img')!.label = encodePairRecord({ ...unpaired, partial: true });
    return env;
  }

  test('is no boot disk, alone, below a quorum, or as a late child', async () => {
    const { layer } = await marked();
    const refusal =
      "image '/a.img' holds part of an epoch: its process ended before it was made whole";
    await expect(layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0'))).rejects.toThrow(
      refusal,
    );
    await expect(layer.addDrive(parseDrive(quorumDrive))).rejects.toThrow(refusal);
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,if=none,node-name=n0'));
    expect(() => layer.claim('d0', 'disk0')).toThrow(refusal);
    await layer.addDrive(parseDrive(quorumDrive.replace('/a.img', '/b.img')));
    await expect(layer.blockdevChange({ parent: 'q', node: 'n0' })).rejects.toThrow(refusal);
  });

  test('may be a secondary disk again, but cannot be declared equal', async () => {
    const { layer } = await marked();
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,if=none'));
    await layer.addDrive(
      parseDrive('driver=replication,mode=secondary,file=d0,id=r0,x-assume-in-sync=on'),
    );
    layer.claim('r0', 'disk0');
    await expect(layer.secondaryDisks()[0].start()).rejects.toThrow(
      'x-assume-in-sync cannot be right',
    );
    await layer.driveDel('r0');
    await layer.addDrive(parseDrive('driver=replication,mode=secondary,file=d0,id=r1'));
    layer.claim('r1', 'disk0');
    await layer.secondaryDisks()[0].start();
  });
});

describe('what COLO covers', () => {
  test('every writable disk that a device holds; a plain one is named', async () => {
    const { layer } = await layerSetUp();
    await layer.addDrive(parseDrive(quorumDrive));
    await layer.addDrive(parseDrive('file=/b.img,format=raw,id=plain'));
    await layer.addDrive(parseDrive('file=/c.img,format=raw,id=cd,readonly=on'));
    layer.claim('q', 'disk0');
    layer.claim('cd', 'disk2');
    const [disk] = layer.primaryDisks();
    await expect(disk.start()).rejects.toThrow('no child supports block replication');
    expect(layer.primaryDisks()[0]).toBe(disk);
    expect(() => layer.secondaryDisks()).toThrow(
      "drive 'q' is writable and not replicated: in secondary mode",
    );
    layer.claim('plain', 'disk1');
    expect(() => layer.primaryDisks()).toThrow("drive 'plain' is writable and not replicated");
  });

  test(
    'both sides know a disk by the name of the export that joins them, whatever its drives are ' +
      'called',
    async () => {
      const pair = await attachedPair();
      expect([pair.p.name, pair.s.name]).toEqual(['colo-disk0', 'colo-disk0']);
      expect(pair.primary.manifest()).toEqual(pair.secondary.manifest());
      await pair.s.start();
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
    await expect(pair.p.start()).rejects.toThrow('too many children support block replication');
    const { layer } = await layerSetUp();
    await layer.addDrive(parseDrive(quorumDrive.replace('read-pattern=fifo,', '')));
    layer.claim('q', 'disk0');
    await expect(layer.primaryDisks()[0].start()).rejects.toThrow('needs read-pattern=fifo');
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

describe('a quorum above the replication node of the secondary', () => {
  const above = (topId: string) =>
    'if=virtio,id=active-disk0,driver=quorum,read-pattern=fifo,vote-threshold=1,' +
    'children.0.driver=replication,' +
    `children.0.mode=secondary,children.0.top-id=${topId},children.0.file=colo-disk0`;

  test('is the secondary of a pair, takes over, and is the primary of the next', async () => {
    const pair = await attachedPair({ secondaryDrive: above('active-disk0') });
    pair.p.claim();
    pair.s.claim();
    await pair.s.start();
    await pair.p.start();
    await pair.pvm.pwrite(0, pattern(4096, 5));
    await checkpoint(pair);
    expectSame(await pair.svm.pread(0, 4096), pattern(4096, 5));
    expect(() => pair.secondary.primaryDisks()).toThrow(
      'in primary mode its driver must be quorum',
    );
    await pair.s.stop(true);
    const [next] = pair.secondary.primaryDisks();
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
