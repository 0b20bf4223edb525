/**
 * Goal: the images change hands whole or not at all, and a try that was given up comes to nothing
 * however late its disk answers. Method: two layers over the same simulated files.
 */
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { takeImages } from '../../../src/migration/transfer.js';
import { ManualClock, pattern, testHost, turn } from '../../support/block-host.js';
import { KiB } from '../../support/block-pair.js';

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

test('given up, taken, and nobody else writes', async () => {
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
    /node .#block.* has 512 bytes; it had 65536/,
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
