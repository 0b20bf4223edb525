/**
 * Goal: the options of a drive and of its nodes do what they say: cache, errors, throttle, index.
 * Method: a layer over simulated files.
 */
import { ioError } from '../../../../src/block/contract/io-error.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost } from '../../../support/block-host.js';
import { attachedPair } from '../../../support/block-pair.js';
import { layerSetUp } from '../../../support/block-layer.js';

describe('options of every node, and of the cache', () => {
  test('detect-zeroes turns written zeroes into holes; discard=ignore keeps what was discarded', async () => {
    const { layer, host } = await layerSetUp();
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
  });

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
      const { layer, host } = await layerSetUp();
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
    const { layer, host } = await layerSetUp();
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
    const { layer, events } = await layerSetUp();
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

test('cache modes: unsafe never syncs, writethrough always does', async () => {
  const { layer, host } = await layerSetUp();
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
  const { layer, host } = await layerSetUp();
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
