/**
 * Goal: images that differ are found and made equal before the first checkpoint (rule 10). Method:
 * digests, then a pair with different images.
 */
import { differences, digest } from '../../../../src/block/layer/sync-check.js';
import { expectSame, pattern } from '../../../support/block-host.js';
import { attachedPair, checkpoint, KiB, MiB } from '../../../support/block-pair.js';

const source = (data: Buffer) => ({
  length: data.length,
  pread: async (offset: number, length: number) => data.subarray(offset, offset + length),
  blockStatus: async (_offset: number, length: number) => ({
    length,
    allocated: true,
    zero: false,
  }),
});

test('equal images have equal digests; a difference is a piece of 1 MiB', async () => {
  const image = Buffer.concat([pattern(MiB), Buffer.alloc(MiB), pattern(512 * KiB)]);
  const other = Buffer.from(image);
  const seen: number[] = [];
  const one = await digest(source(image), done => seen.push(done));
  expect(seen).toEqual([MiB, 2 * MiB, 2 * MiB + 512 * KiB]);
  expect(differences(one, await digest(source(other)))).toEqual([]);
  other[MiB + 5] = 1;
  other[2 * MiB + 512 * KiB - 1] ^= 1;
  expect(differences(one, await digest(source(other)))).toEqual([
    { offset: MiB, length: MiB },
    { offset: 2 * MiB, length: 512 * KiB },
  ]);
});

test('every byte of a checksum counts', async () => {
  const own = await digest(source(pattern(2 * MiB)));
  for (let at = 1; at <= 16; at++) {
    const peer = Buffer.from(own);
    peer[peer.length - at] ^= 1;
    expect(differences(own, peer)).toEqual([{ offset: MiB, length: MiB }]);
  }
});

test('what an image does not hold is not read, and its digest is that of zeroes', async () => {
  const image = Buffer.concat([Buffer.alloc(3 * MiB + 512), pattern(MiB), Buffer.alloc(4 * MiB)]);
  const read: number[] = [];
  const sparse = {
    ...source(image),
    pread: async (offset: number, length: number) => (
      read.push(offset / MiB),
      image.subarray(offset, offset + length)
    ),
    blockStatus: async (offset: number, length: number) => {
      const edge = [3 * MiB + 512, 4 * MiB + 512, image.length].find(end => end > offset)!;
      return {
        length: Math.min(length, edge - offset),
        allocated: true,
        zero: edge !== 4 * MiB + 512,
      };
    },
  };
  expect(await digest(sparse)).toEqual(await digest(source(image)));
  expect(read).toEqual([3, 4]);
});

test('an untrusted digest is refused with a sentence', async () => {
  const own = await digest(source(pattern(MiB)));
  const longer = await digest(source(pattern(2 * MiB)));
  expect(() => differences(own, longer)).toThrow(
    'different lengths: 1048576 bytes here, 2097152 at the peer',
  );
  expect(() => differences(own, own.subarray(0, 10))).toThrow(
    'disk digest: 10 bytes are no digest',
  );
  expect(() => differences(own, own.subarray(0, own.length - 1))).toThrow('15 bytes of checksums');
  const bad = Buffer.from(own);
  bad[0] ^= 1;
  expect(() => differences(own, bad)).toThrow('disk digest: magic');
});

test('what differs is copied by start, also while the guest writes', async () => {
  const secondaryImage = Buffer.concat([pattern(MiB), pattern(MiB, 66), pattern(MiB)]);
  const pair = await attachedPair({
    image: Buffer.concat([pattern(MiB), pattern(MiB), pattern(MiB)]),
    secondaryImage,
  });
  expect(pair.p.sync.assumed).toBe(false);
  await pair.pvm.pwrite(2 * MiB, pattern(512, 2));
  const found = await pair.p.sync.compare(await pair.s.sync.digest());
  expect([found.bytes, found.peerIsBlank]).toEqual([2 * MiB, false]);
  found.copy();
  await pair.s.start();
  const started = pair.p.start();
  const writes = Array.from({ length: 20 }, (_, n) =>
    pair.pvm.pwrite(MiB + n * 50 * KiB - (n % 2) * 512, pattern(2048, n)),
  );
  await Promise.all([started, ...writes]);
  await checkpoint(pair);
  expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
});

test('x-assume-in-sync: the user vouches', async () => {
  const pair = await attachedPair({
    secondaryDrive:
      'driver=replication,mode=secondary,file=colo-disk0,x-assume-in-sync=on,id=active-disk0',
  });
  expect([pair.p.sync.assumed, pair.s.sync.assumed]).toEqual([false, true]);
});

test('what the guest wrote since the replica was attached is no older difference', async () => {
  const image = Buffer.concat([pattern(MiB), pattern(MiB)]);
  const pair = await attachedPair({ image });
  await pair.pvm.pwrite(MiB, pattern(512, 9));
  const found = await pair.p.sync.compare(await pair.s.sync.digest());
  expect([found.bytes, found.olderBytes]).toEqual([MiB, 0]);
  const other = await attachedPair({
    image,
    secondaryImage: Buffer.concat([pattern(MiB, 3), pattern(MiB)]),
  });
  await other.pvm.pwrite(MiB, pattern(512, 9));
  const older = await other.p.sync.compare(await other.s.sync.digest());
  expect([older.bytes, older.olderBytes]).toEqual([2 * MiB, MiB]);
});

test('the other way: the pieces come from the replica, durable, and nothing is written there', async () => {
  const secondaryImage = Buffer.concat([pattern(MiB, 3), Buffer.alloc(MiB), pattern(MiB)]);
  const image = Buffer.concat([pattern(MiB), pattern(MiB), pattern(MiB)]);
  const pair = await attachedPair({ image, secondaryImage });
  const found = await pair.p.sync.compare(await pair.s.sync.digest());
  expect(found.bytes).toBe(2 * MiB);
  await found.copyBack();
  expectSame(pair.primaryHost.files.durable('/p.img'), secondaryImage);
  expectSame(pair.secondaryHost.files.bytes('/s.img'), secondaryImage);
  const blank = await attachedPair({ image, secondaryImage: Buffer.alloc(3 * MiB) });
  const { peerIsBlank } = await blank.p.sync.compare(await blank.s.sync.digest());
  expect(peerIsBlank).toBe(true);
});
