/**
 * Goal: what a side writes of itself, and when it may run, for each state that its images can be
 * in. Method: records over simulated files, two for most tests, that can fail.
 */
import { ImageRecord } from '../../../src/block/record/image-record.js';
import {
  decodePairRecord,
  encodePairRecord,
  type PairRecord,
} from '../../../src/block/record/pair-record.js';
import { PairIdentity } from '../../../src/colo/identity.js';
import { compare, firstRecord, nextBranch } from '../../../src/colo/record.js';
import { MemoryFiles } from '../../support/block-host.js';

const pair = '0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01';
const first = firstRecord(pair, 'a'.repeat(32));
const theirs = nextBranch(first, 'b'.repeat(32));

async function side(...records: (PairRecord | undefined)[]) {
  const files = new MemoryFiles();
  const names = records.map((_, n) => `/d${n}.img`);
  for (const [n, name] of names.entries()) {
    files.put(name, Buffer.alloc(512));
    files.inodes.get(name)!.label = records[n] && encodePairRecord(records[n]);
  }
  let drawn = 0;
  const images = await Promise.all(
    names.map(async (name, n) => {
      const file = await files.open(name, { readOnly: false, lock: 'none' });
      return { disk: `disk${n}`, record: await ImageRecord.open(name, file.label) };
    }),
  );
  const entropy = { fill: (bytes: Uint8Array) => void bytes.fill(++drawn) };
  const identity = new PairIdentity({ entropy, images: () => images });
  const stored = () =>
    names.map(name => files.inodes.get(name)!.label).map(label => label && decodePairRecord(label));
  return { files, identity, stored };
}

test('the first time in COLO a pair is made, the same at all images', async () => {
  const { identity, stored } = await side(undefined, undefined);
  expect(identity.record).toBeUndefined();
  const made = await identity.enter();
  expect(made).toMatchObject({ generation: 1, role: 'primary', state: 'alone', history: [] });
  expect(stored()).toEqual([made, made]);
});

test('who asks its arbiter and who enters COLO at once make one pair', async () => {
  const { identity, stored } = await side(undefined, undefined);
  const [asked, entered] = await Promise.all([identity.enter(), identity.enter()]);
  expect(entered).toEqual(asked);
  expect(stored()).toEqual([asked, asked]);
  expect(await identity.enter()).toEqual(asked);
});

test('a side that goes on alone has a branch of its own, durable at every image before it runs', async () => {
  const { identity, stored } = await side(
    { ...first, role: 'secondary', state: 'protected' },
    { ...first, role: 'secondary', state: 'protected', partial: true },
  );
  await identity.goAlone();
  const [a, b] = stored();
  expect(a).toMatchObject({
    pair,
    generation: 2,
    history: [first.branch],
    role: 'primary',
    state: 'alone',
    partial: false,
  });
  expect(b).toEqual({ ...a, partial: true });
  expect(compare(a, first)).toBe('ours-newer');
});

test('an image whose record cannot be written has it fail, and it can be tried again', async () => {
  const { files, identity, stored } = await side(
    { ...first, state: 'protected' },
    { ...first, state: 'protected' },
  );
  files.fault = (operation, path) => {
    if (operation === 'write-label' && path === '/d1.img') throw new Error('no room');
  };
  await expect(identity.goAlone()).rejects.toThrow(
    "the record of image '/d1.img' cannot be written: no room",
  );
  // One image has its record and the other not: this side is who it was, and no other.
  const next = identity.branchToBegin();
  expect(stored().map(record => record?.branch)).toEqual([next, first.branch]);
  expect(identity.record).toEqual({ ...first, state: 'protected' });
  files.fault = () => undefined;
  await identity.goAlone();
  const [a, b] = stored();
  expect(a).toEqual(b);
  expect([identity.record?.branch, identity.branchToBegin() === next]).toEqual([next, false]);
});

test('an image that never had a record is on no branch: the others say where this side is', async () => {
  const { files, identity, stored } = await side({ ...first, state: 'protected' }, undefined);
  files.fault = (operation, path) => {
    if (operation === 'write-label' && path === '/d1.img') throw new Error('no room');
  };
  await expect(identity.goAlone()).rejects.toThrow('no room');
  expect(identity.record).toEqual(stored()[0]);
  expect(identity.record?.branch).toBe(identity.branchToBegin());
});

test('a side that could not go on, and hears that its peer does, yields at every image', async () => {
  const { files, identity, stored } = await side(
    { ...first, state: 'protected' },
    { ...first, state: 'protected' },
  );
  files.fault = (operation, path) => {
    if (operation === 'write-label' && path === '/d1.img') throw new Error('no room');
  };
  await expect(identity.goAlone()).rejects.toThrow('no room');
  files.fault = () => undefined;
  await identity.concede();
  expect(stored()).toEqual([
    { ...first, state: 'yielded' },
    { ...first, state: 'yielded' },
  ]);
});

test.each<[PairRecord['state'], boolean]>([
  ['alone', true],
  ['together', true],
  ['protected', false],
  ['yielded', false],
  ['copying', false],
])('a guest whose record says %s may run by itself: %s', async (state, may) => {
  const { identity } = await side({ ...first, state });
  expect(identity.obstacle === undefined).toBe(may);
});

test('from `together` it runs on a branch of its own, from `alone` on the one that it has', async () => {
  const after = await side({ ...first, state: 'together' });
  await after.identity.beginAlone();
  expect(after.stored()[0]).toMatchObject({ generation: 2, state: 'alone' });
  const alone = await side(first);
  await alone.identity.beginAlone();
  expect(alone.stored()[0]).toEqual(first);
  const without = await side(undefined);
  await without.identity.beginAlone();
  expect(without.stored()).toEqual([undefined]);
});

test('a peer that runs this guest is believed, unless this side has gone on too', async () => {
  const behind = await side({ ...first, state: 'protected' });
  expect((await behind.identity.heardOf(theirs)).message).toBe(
    'the secondary has taken over and runs this guest, generation 2: it does not run here',
  );
  expect(behind.stored()[0]).toMatchObject({ state: 'yielded' });
  const both = await side(nextBranch(first, 'c'.repeat(32)));
  expect((await both.identity.heardOf(theirs)).message).toContain(
    'this side has gone on alone too',
  );
  expect(both.stored()[0]).toMatchObject({ state: 'alone' });
  const without = await side();
  await without.identity.heardOf(undefined);
  expect(without.identity.obstacle?.message).toContain('the secondary has taken this guest over');
  await without.identity.goAlone();
  expect(without.identity.obstacle).toBeUndefined();
});

test('images that do not belong together, or cannot be understood, keep the guest from running', async () => {
  const apart = await side(first, theirs);
  expect(apart.identity.obstacle?.message).toContain('do not belong together');
  await expect(apart.identity.enter()).rejects.toThrow('do not belong together');
  const edited = await side(first);
  edited.files.inodes.get('/d0.img')!.label = Buffer.from('{"magic":"colo-pair","version":9}');
  const file = await edited.files.open('/d0.img', { readOnly: false, lock: 'none' });
  const record = await ImageRecord.open('/d0.img', file.label);
  const identity = new PairIdentity({
    entropy: { fill: () => undefined },
    images: () => [{ disk: 'd', record }],
  });
  expect(identity.obstacle?.message).toContain('it has version 9, this colo knows 1');
  expect(() => identity.standings()).toThrow('it has version 9');
});
