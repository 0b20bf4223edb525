/**
 * Goal: a record is read back as it was written, and whatever is not one is refused with a sentence
 * and left as it is. Method: the codec, and an image over simulated files.
 */
import { ImageRecord } from '../../../../src/block/record/image-record.js';
import {
  decodePairRecord,
  encodePairRecord,
  type PairRecord,
} from '../../../../src/block/record/pair-record.js';
import { MemoryFiles } from '../../../support/block-host.js';

const record: PairRecord = {
  pair: '0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01',
  generation: 3,
  branch: 'c'.repeat(32),
  history: ['b'.repeat(32), 'a'.repeat(32)],
  role: 'secondary',
  state: 'protected',
  partial: true,
};

async function image(label?: Uint8Array) {
  const files = new MemoryFiles();
  files.put('/a.img', Buffer.alloc(512));
  files.inodes.get('/a.img')!.label = label;
  const open = async (path: string) =>
    ImageRecord.open(path, (await files.open(path, { readOnly: false, lock: 'none' })).label);
  return { files, open, label: () => files.inodes.get('/a.img')!.label };
}

test('one that was written is read back', () => {
  expect(decodePairRecord(encodePairRecord(record))).toEqual(record);
  expect(JSON.parse(encodePairRecord(record).toString())).toMatchObject({
    magic: 'colo-pair',
    version: 1,
    generation: 3,
  });
});

test.each<[string, (text: string) => string, string]>([
  [
    'an edited one',
    text => text.replace('"generation":3', '"generation":4'),
    'its checksum is wrong: it was changed by hand, or is damaged',
  ],
  [
    'a newer one',
    text => text.replace('"version":1', '"version":2'),
    'it has version 2, this colo knows 1',
  ],
  ['a foreign one', () => '{"magic":"drbd"}', 'it is not one of colo'],
  ['no JSON', () => '\0\0', 'it is not one of colo'],
  ['a word that is none', text => text.replace('"protected"', '"proud"'), 'its state is not one'],
  ['a branch that is none', text => text.replace('cccc', 'zzzz'), 'its branch is not one'],
  ['one that is far too long', text => text + ' '.repeat(5000), 'it is not one of colo'],
])('%s is refused, and nothing is written over it', async (_, change, why) => {
  const bytes = Buffer.from(change(encodePairRecord(record).toString()));
  const { open, label } = await image(bytes);
  const found = await open('/a.img');
  expect([found.value, found.problem?.message]).toEqual([
    undefined,
    `the record of image '/a.img' cannot be used: ${why}`,
  ]);
  expect(found.obstacle).toBe(found.problem);
  await expect(found.write(() => record)).rejects.toThrow(why);
  await expect(found.markPartial()).rejects.toThrow(why);
  expect(label()).toEqual(bytes);
  await found.clear();
  expect([label(), found.obstacle]).toEqual([undefined, undefined]);
});

test('it goes with the image to another name, and writes go one after the other', async () => {
  const { files, open } = await image();
  const first = await open('/a.img');
  await Promise.all([first.write(() => ({ ...record, partial: false })), first.markPartial()]);
  files.rename('/a.img', '/b.img');
  expect((await open('/b.img')).value).toEqual(record);
});

test('a write that fails is reported and changes nothing', async () => {
  const { files, open } = await image(encodePairRecord(record));
  const found = await open('/a.img');
  files.fault = operation => {
    if (operation === 'write-label') throw new Error('no room');
  };
  await expect(found.unmarkPartial()).rejects.toThrow(
    "the record of image '/a.img' cannot be written: no room",
  );
  expect(found.partial).toBe(true);
  files.fault = () => undefined;
  await found.unmarkPartial();
  expect(found.partial).toBe(false);
});

test('a mark on an image without a pair leaves nothing when it is taken away', async () => {
  const { open, label } = await image();
  const found = await open('/a.img');
  await found.markPartial();
  expect(found.obstacle?.message).toContain('holds part of an epoch');
  await found.unmarkPartial();
  expect(label()).toBeUndefined();
});

test.each<[Partial<PairRecord>, string | undefined]>([
  [{ partial: true }, "image '/a.img' holds part of an epoch"],
  [{ state: 'copying', role: 'primary' }, "image '/a.img' is half copied"],
  [{}, "image '/a.img' is the secondary's copy of a protected guest (generation 3)"],
  [{ state: 'together' }, undefined],
  [{ role: 'primary' }, undefined],
])("%j: may it be a guest's disk? %s", async (change, why) => {
  const { open } = await image(encodePairRecord({ ...record, partial: false, ...change }));
  const { obstacle } = await open('/a.img');
  if (why === undefined) expect(obstacle).toBeUndefined();
  else expect(obstacle?.message).toContain(why);
});
