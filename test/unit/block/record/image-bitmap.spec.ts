/**
 * Goal: what an image holds beyond the common point is marked whatever ends its process, and a
 * bitmap that cannot be relied on says so. Method: an image and its bitmap on a simulated host that
 * loses what was not synced.
 */
import { BlockNode } from '../../../../src/block/contract/node.js';
import { FileDriver } from '../../../../src/block/drivers/file.js';
import { decodeIntents, encodeHeader } from '../../../../src/block/record/intent-sectors.js';
import { Regions } from '../../../../src/block/record/regions.js';
import type { PairRecord } from '../../../../src/block/record/pair-record.js';
import { Random } from '../../../support/random.js';
import { SimHost } from '../../../support/sim/host.js';
import { SimNetwork } from '../../../support/sim/network.js';
import { SimMachineHost, SimNode } from '../../../support/sim/node.js';
import { World } from '../../../support/sim/world.js';

const KiB = 1024;
const bytes = 1024 * KiB;
const region = 64 * KiB;
const image = '/a.img';
const record: PairRecord = {
  pair: '0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01',
  generation: 3,
  branch: 'c'.repeat(32),
  history: ['b'.repeat(32)],
  role: 'primary',
  state: 'alone',
  partial: false,
};
const id = 'd'.repeat(32);
const base = { id, branch: record.branch, generation: record.generation };
const binding = { pair: record.pair, base, format: 'raw', length: bytes } as const;

/** A host, and one process after the other on it. */
class Bench {
  readonly world: World;
  readonly machine: SimMachineHost;
  node!: SimNode;
  driver!: FileDriver;
  disk!: BlockNode;

  constructor(seed = 1) {
    this.world = new World(seed);
    this.machine = new SimMachineHost('H', this.world);
    this.machine.storage.put(image, Buffer.alloc(bytes));
  }

  async open(path = image): Promise<void> {
    this.node = new SimNode('H', this.world, this.machine);
    const host = new SimHost(this.node, new SimNetwork(this.world));
    const options = { filename: path, readOnly: false, lock: 'auto' } as const;
    this.driver = await this.world.play(FileDriver.open(host, options));
    this.disk = new BlockNode('d', this.driver);
  }

  /** Bound to a common point, at which the image is all zeroes. */
  async bound(): Promise<void> {
    await this.open();
    await this.world.play(this.driver.record.write(() => record));
    await this.world.play(this.driver.bitmap.bind(binding, new Regions(bytes)));
  }

  async again(clean: boolean): Promise<void> {
    this.node.crash(clean);
    await this.open();
  }

  /** The bitmap's file, as it is on the host. */
  get file(): Buffer {
    const [, inode] = [...this.machine.storage.inodes].find(([name]) => name.includes('bitmap'))!;
    return inode.data;
  }

  get standing() {
    return this.driver.bitmap.standing(this.driver.record.value, bytes);
  }

  /** Regions of the image that are not as they were at the common point. */
  get changed(): number[] {
    const data = this.machine.storage.bytes(image);
    const all = Array.from({ length: bytes / region }, (_, n) => n);
    return all.filter(n => data.subarray(n * region, (n + 1) * region).some(byte => byte !== 0));
  }

  get marked(): number[] {
    const { marked } = this.driver.bitmap;
    return Array.from({ length: bytes / region }, (_, n) => n).filter(n => marked?.has(n));
  }
}

const trusted = { bases: [id] };

test('whatever ends the process, at whatever moment: all that has changed is marked', async () => {
  let unmarked = 0;
  for (let seed = 1; seed <= 150; seed++) {
    const random = new Random(seed);
    const b = new Bench(seed);
    await b.bound();
    const { disk, world } = b;
    const write = () => {
      const offset = 512 * random.below(bytes / 512 - 200);
      const data = Buffer.alloc(512 * (1 + random.below(100)), 0x5a);
      void (random.chance(0.2) ? disk.flush() : disk.pwrite(offset, data)).catch(() => undefined);
    };
    for (let n = 1 + random.below(8); n > 0; n--) world.after(random.between(0, 3), write);
    await world.run(world.now + random.between(0, 4));
    await b.again(random.chance(0.3));
    expect([seed, b.standing]).toEqual([seed, trusted]);
    expect([seed, b.changed.filter(n => !b.marked.includes(n))]).toEqual([seed, []]);
    unmarked += bytes / region - b.marked.length;
  }
  expect(unmarked).toBeGreaterThan(100);
});

test('a region costs one sync, and a run of writes few', async () => {
  const b = new Bench();
  await b.bound();
  let syncs = 0;
  const { faults } = b.machine.storage;
  const fault = (operation: string, path: string) => {
    if (operation === 'fdatasync' && path.includes('bitmap')) syncs++;
    return undefined;
  };
  b.machine.storage.faults = { ...faults, fault };
  const data = Buffer.alloc(4 * KiB, 1);
  const write = (at: number) => b.world.play(b.disk.pwrite(at, data));
  for (let n = 0; n < 8; n++) await write(n * 4 * KiB);
  expect(syncs).toBe(1);
  await Promise.all([2, 5, 9].map(n => b.disk.pwrite(n * region, data)).map(w => b.world.play(w)));
  expect(syncs).toBeLessThanOrEqual(3);
  const before = syncs;
  for (let n = 0; n < 64; n++) await write(n * 4 * KiB);
  expect(syncs - before).toBeLessThanOrEqual(2);
});

test('it is cleared when both sides have flushed, and not if one of them fails', async () => {
  const b = new Bench();
  await b.bound();
  const { bitmap } = b.driver;
  const epoch = async (flush: () => Promise<void>) => {
    await b.world.run(b.world.now + 100);
    bitmap.cut();
    bitmap.committed(flush);
    await b.world.run(b.world.now + 20);
  };
  const ok = () => Promise.resolve();
  const write = (n: number) => b.world.play(b.disk.pwrite(n * region, Buffer.alloc(512, 1)));
  await write(3);
  await epoch(ok);
  expect(b.marked).toEqual([3]); // the peer has not confirmed the point
  bitmap.confirm();
  await epoch(() => Promise.reject(new Error('the peer is gone')));
  await epoch(ok);
  expect(b.marked).toEqual([3]); // it was written in the time that ends here
  await write(5);
  await epoch(ok);
  expect(b.marked).toEqual([5]);
  // What is written between the cut and the flush stays, and so does what an abort joins.
  await write(7);
  await b.world.run(b.world.now + 100);
  bitmap.cut();
  bitmap.aborted();
  await epoch(() => b.disk.pwrite(9 * region, Buffer.alloc(512, 1)));
  expect(b.marked).toEqual([7, 9]);
  await epoch(ok);
  expect(b.marked).toEqual([9]);
  await epoch(ok);
  expect(b.marked).toEqual([]);
  await write(3);
  await b.again(false);
  expect([b.standing, b.marked]).toEqual([trusted, [3]]);
});

const untrusted: [string, (b: Bench) => unknown, RegExp | string][] = [
  ['missing', b => b.machine.storage.inodes.delete('/.bitmap.1'), 'the image has no bitmap'],
  ['damaged', b => (b.file[512 + 3] ^= 1), /its sector 1 is torn, missing, or was changed/],
  ['cut off', b => (b.file.fill(0, 512), undefined), /its sector 1 is torn, missing/],
  ['edited', b => (b.file[60] ^= 1), /the checksum of its header is wrong/],
  ['newer', b => (b.file[7] = 2), /it has version 2, this colo knows 1/],
  ['foreign', b => b.file.fill(0x20), /it is not one of colo/],
  [
    'without a point',
    b => encodeHeader({ ...decodeIntents(b.file).header, bases: [] }).copy(b.file),
    /it counts from no point/,
  ],
  [
    "another image's",
    b => {
      const { storage } = b.machine;
      const other = Buffer.from(storage.bytes(image));
      const { label } = storage.inodes.get(image)!;
      storage.put(image, other);
      storage.inodes.get(image)!.label = label;
      storage.put('/.bitmap.2', b.file);
    },
    /it is another image's/,
  ],
  [
    'older than a write of somebody else',
    b => {
      const inode = b.machine.storage.inodes.get(image)!;
      inode.changedUs += 60_000_000;
    },
    /the image was changed after colo had written to it for the last time/,
  ],
];

test.each(untrusted)('one that is %s is nothing to go by, and is void', async (_, spoil, why) => {
  const b = new Bench();
  await b.bound();
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 1)));
  b.node.crash(true);
  spoil(b);
  await b.open();
  const expected = { why: typeof why === 'string' ? why : expect.stringMatching(why) };
  expect(b.standing).toEqual(expected);
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 2)));
  await b.again(false);
  expect('why' in b.standing).toBe(true);
  // Another session binds it anew.
  await b.world.play(b.driver.bitmap.bind(binding, new Regions(bytes)));
  await b.again(false);
  expect(b.standing).toEqual(trusted);
});

test('another pair, generation or length', async () => {
  const b = new Bench();
  await b.bound();
  const { bitmap } = b.driver;
  const pair = 'ffffffff-7a05-4d6f-9d0c-0d0c6c1f6a01';
  expect(bitmap.standing({ ...record, pair }, bytes)).toEqual({
    why: 'its bitmap is of another pair',
  });
  expect(bitmap.standing(undefined, bytes)).toEqual({ why: 'its bitmap is of another pair' });
  const strange = { ...record, branch: 'e'.repeat(32) };
  expect(bitmap.standing(strange, bytes)).toEqual({ why: 'its bitmap is of another generation' });
  const later = { ...strange, history: [record.branch] };
  expect(bitmap.standing(later, bytes)).toEqual(trusted);
  expect(bitmap.standing(record, 2 * bytes)).toEqual({
    why: 'its bitmap is of a disk of another length',
  });
  await b.world.play(b.disk.resize(2 * bytes));
  expect(b.standing).toEqual({ why: 'its bitmap: the length of the disk was changed' });
  await b.again(false);
  expect(b.standing).toEqual({ why: 'its bitmap: the length of the disk was changed' });
});

test.each(['ENOSPC', 'EIO'] as const)(
  'beside an image where nothing can be written (%s) the guest goes on, and it is void',
  async code => {
    const b = new Bench();
    await b.bound();
    const { storage } = b.machine;
    const { faults } = storage;
    const fault = (operation: string, path: string) =>
      path.includes('bitmap') && operation !== 'open' && operation !== 'pread' ? code : undefined;
    storage.faults = { ...faults, fault };
    await b.world.play(b.disk.pwrite(region, Buffer.alloc(512, 1)));
    expect(b.standing).toEqual({ why: expect.stringMatching(/it cannot be written/) });
    storage.calm();
    await b.again(false);
    expect('why' in b.standing).toBe(true);
  },
);

test('a secondary marks nothing that comes from its primary, and all that is its own', async () => {
  const b = new Bench();
  await b.bound();
  const { bitmap } = b.driver;
  await b.world.play(bitmap.adopt({ ...binding, base: { ...base, id: 'e'.repeat(32) } }));
  bitmap.follow(true);
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 1)));
  expect(b.marked).toEqual([]);
  bitmap.follow(false);
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 1)));
  expect(b.marked).toEqual([0]);
  // Another primary that names no point: what comes is marked here.
  bitmap.follow(true);
  await b.world.play(b.disk.pwrite(4 * region, Buffer.alloc(512, 1)));
  expect(b.marked).toEqual([0, 4]);
});

test('both points hold until the peer has confirmed the new one', async () => {
  const b = new Bench();
  await b.bound();
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 1)));
  const next = { ...base, id: 'e'.repeat(32) };
  const theirs = new Regions(bytes);
  theirs.mark(3 * region, 1);
  await b.world.play(b.driver.bitmap.bind({ ...binding, base: next, former: id }, theirs));
  await b.again(false);
  expect([b.standing, b.marked]).toEqual([{ bases: [next.id, id] }, [0, 3]]);
});

test('what colo closes counts until somebody else writes', async () => {
  const b = new Bench();
  await b.bound();
  await b.world.play(b.disk.pwrite(0, Buffer.alloc(512, 1)));
  await b.world.play(b.driver.close());
  b.machine.storage.inodes.get(image)!.changedUs += 50_000;
  await b.again(true);
  expect('why' in b.standing).toBe(true);
});
