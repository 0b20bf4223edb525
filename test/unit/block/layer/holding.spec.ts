/**
 * Goal: the images change hands whole or not at all, and a try that was given up comes to nothing
 * however late its disk answers. Method: two layers over the same simulated files.
 */
import { checkQcow2 } from '../../../../src/block/drivers/qcow2/check.js';
import { defaultCreateOptions } from '../../../../src/block/drivers/qcow2/create.js';
import type { Qcow2Driver } from '../../../../src/block/drivers/qcow2/driver.js';
import { readHeader } from '../../../../src/block/drivers/qcow2/image.js';
import { createImage, withFile } from '../../../../src/block/image/open.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { takeImages } from '../../../../src/migration/transfer.js';
import { expectSame, ManualClock, pattern, testHost, turn } from '../../../support/block-host.js';
import { KiB } from '../../../support/block-pair.js';

async function setUp() {
  const host = testHost();
  for (const name of ['a', 'b']) host.files.put(`/${name}.img`, pattern(64 * KiB));
  const layer = async (inactive: boolean) => {
    const made = new BlockLayer(host);
    made.graph.opensInactive = inactive;
    for (const name of ['a', 'b']) {
      await made.addDrive(parseDrive(`file=/${name}.img,format=raw,id=${name},if=virtio`));
      made.claim(name, `device ${name}`);
    }
    made.graph.opensInactive = false;
    return made;
  };
  return { host, here: await layer(false), there: await layer(true) };
}
const locked = (name: string) => `file '/${name}.img' is locked by another process`;
const sector = Buffer.alloc(512, 7);
const writing = (layer: BlockLayer) => layer.backend('a').pwrite(0, sector);
const elsewhere = "image '/a.img' is not this process's to write while the guest is elsewhere";

test('given up, taken, and no other process writes', async () => {
  const { host, here, there } = await setUp();
  await expect(writing(there)).rejects.toThrow(elsewhere);
  await expect(there.images.activate()).rejects.toThrow(locked('a'));
  await writing(here);
  await here.images.inactivate();
  expect(host.files.durable('/a.img').subarray(0, 512)).toEqual(sector);
  await expect(writing(here)).rejects.toThrow(elsewhere);
  await expect(here.backend('a').writeZeroes(0, 512)).rejects.toThrow(elsewhere);
  expect([here.images.active, there.images.active]).toEqual([false, false]);
  await there.images.activate();
  await expect(here.images.activate()).rejects.toThrow(locked('a'));
  await writing(there);
});

test('all or none: the first is given back when the second is not to be had', async () => {
  const { host, here, there } = await setUp();
  await here.images.inactivate();
  const stranger = await host.files.open('/b.img', { readOnly: false, lock: 'auto' });
  await expect(there.images.activate()).rejects.toThrow(locked('b'));
  await stranger.close();
  await here.images.activate();
  await writing(here);
});

test('an image that another length came to is not taken', async () => {
  const { host, here, there } = await setUp();
  await here.images.inactivate();
  host.files.inodes.get('/b.img')!.data = Buffer.alloc(512);
  await expect(there.images.activate()).rejects.toThrow(
    "image '/b.img' has 512 bytes; it had 65536",
  );
  expect(host.files.inodes.get('/a.img')!.locks).toEqual([]);
});

test('a hand-over that was given up does nothing when its disk answers at last', async () => {
  const { host, here, there } = await setUp();
  let answer: () => void = () => undefined;
  host.files.delay = () => new Promise(resolve => (answer = resolve));
  const given = expect(here.images.inactivate()).rejects.toThrow('not to change hands any more');
  await turn();
  host.files.delay = () => Promise.resolve();
  await here.images.activate();
  answer();
  await given;
  await writing(here);
  await expect(there.images.activate()).rejects.toThrow(locked('a'));
});

test('a lock that comes too late is given back', async () => {
  const { host, here, there } = await setUp();
  await here.images.inactivate();
  let answer: () => void = () => undefined;
  host.files.delay = () => new Promise(resolve => (answer = resolve));
  const limits = { replyTimeoutMs: 1000, idleTimeoutMs: 1, blobBytesMax: 1, chunkPages: 1 };
  const { images } = there;
  const clock = new ManualClock();
  const taking = takeImages({ clock, images, limits });
  const late = expect(taking).rejects.toThrow('locking the images: nothing within 1000 ms');
  await clock.advance(1000);
  host.files.delay = () => Promise.resolve();
  answer();
  await late;
  await turn();
  await here.images.activate();
  await writing(here);
});

describe('qcow2', () => {
  async function setUpQcow2() {
    const host = testHost();
    const options = { ...defaultCreateOptions, size: 8 * 64 * KiB };
    await createImage(host, '/q.img', 'qcow2', options);
    const layer = async (inactive: boolean) => {
      const made = new BlockLayer(host);
      made.graph.opensInactive = inactive;
      await made.addDrive(parseDrive('file=/q.img,format=qcow2,id=q,if=virtio'));
      made.claim('q', 'device q');
      made.graph.opensInactive = false;
      return made;
    };
    return { host, here: await layer(false), there: await layer(true) };
  }
  const at = (n: number) => n * 64 * KiB;
  const notHere =
    /image of node '#block\d+' is not this process's to use while the guest is elsewhere/;

  test('the tables are read when it is taken, and written when it is given up', async () => {
    const { host, here, there } = await setUpQcow2();
    await expect(there.images.activate()).rejects.toThrow("file '/q.img' is locked");
    await expect(there.backend('q').pread(0, 512)).rejects.toThrow(notHere);
    await here.backend('q').pwrite(at(1), pattern(512, 1));
    await here.images.inactivate();
    for (const layer of [here, there]) {
      expect(layer.images.active).toBe(false);
      await expect(layer.backend('q').pread(0, 512)).rejects.toThrow(notHere);
      await expect(layer.backend('q').pwrite(0, sector)).rejects.toThrow(notHere);
    }
    await there.images.activate();
    expectSame(await there.backend('q').pread(at(1), 512), pattern(512, 1));
    await there.backend('q').pwrite(at(2), pattern(512, 2));
    await there.images.inactivate();
    await here.images.activate();
    expectSame(await here.backend('q').pread(at(2), 512), pattern(512, 2));
    await here.backend('q').pwrite(at(3), pattern(512, 3));
    await here.close();
    await there.close();
    const check = await withFile(host, '/q.img', true, async file =>
      checkQcow2(file, await readHeader(file)),
    );
    expect([check.corruptions, check.leaks, check.allocated]).toEqual([0, 0, 3]);
  });

  test('another length of the disk, or another backing file, is not taken', async () => {
    const { here, there } = await setUpQcow2();
    await here.resize('q', 9 * 64 * KiB);
    await here.images.inactivate();
    await expect(there.images.activate()).rejects.toThrow('it had 524288 when it was opened here');
    expect(there.images.active).toBe(false);
    await here.images.activate();
    await here.backend('q').pwrite(at(8), sector);
    const qcow2 = here.backend('q').node.driver as Qcow2Driver;
    await qcow2.setBackingFile('/base.img', 'raw');
    await here.images.inactivate();
    await expect(there.images.activate()).rejects.toThrow('has another backing file');
    expect(there.images.active).toBe(false);
  });
});
