/**
 * The arbiter in a shared directory. Method: the contract of all arbiters, two processes that race,
 * then what only files can have: edited, renamed, half written, hanging.
 */
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArbiterAway } from '../../../src/arbiter/contract.js';
import { FileArbiter } from '../../../src/arbiter/file-arbiter.js';
import { encodeRecord } from '../../../src/arbiter/record.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { RecordFolder } from '../../../src/host/ports.js';
import { arbiterContract, arbiterRecord, raceOfProcesses } from '../../support/arbiter-contract.js';

const { clock, entropy, folders } = nodeHost();
let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'arbiter-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const open = (folder: RecordFolder = folders.open(dir)) =>
  new FileArbiter(folder, clock, entropy, 5000);
const fileOf = (term: number) => join(dir, String(term).padStart(16, '0'));

describe('the contract', () => {
  arbiterContract(async () => async () => open());
});

test('two processes: each of 100 terms has one winner', async () => {
  await raceOfProcesses(`file:${dir}`, 100);
}, 60_000);

async function setTerms(terms: number): Promise<void> {
  const arbiter = open();
  for (let term = 1; term <= terms; term++)
    await arbiter.compareAndSet(await arbiter.read(), arbiterRecord({ term }));
}

test('of many terms the last 16 stay, and nothing else is left', async () => {
  await setTerms(20);
  expect(
    readdirSync(dir)
      .filter(name => name !== 'id')
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual(Array.from({ length: 16 }, (_, n) => n + 5));
});

test('what a writer left that died halfway is no record', async () => {
  await setTerms(1);
  writeFileSync(join(dir, '.new-0123456789abcdef'), 'half');
  writeFileSync(join(dir, 'notes.txt'), 'of a person');
  expect((await open().read())?.record.term).toBe(1);
});

test('a record that was edited is refused, and so is one that was renamed', async () => {
  await setTerms(2);
  const text = readFileSync(fileOf(2), 'utf8');
  writeFileSync(fileOf(2), text.replace('alpha', 'gamma'));
  await expect(open().read()).rejects.toThrow(/2' cannot be used: its checksum is wrong/);
  writeFileSync(fileOf(2), encodeRecord(arbiterRecord({ term: 7 })));
  await expect(open().read()).rejects.toThrow(/it is of term 7: it was copied or renamed by hand/);
  writeFileSync(fileOf(2), '');
  await expect(open().read()).rejects.toThrow(/it is none of colo/);
});

test('a record of a newer colo is refused, and not written over', async () => {
  await setTerms(1);
  const newer = readFileSync(fileOf(1), 'utf8').replace('"version":1', '"version":2');
  writeFileSync(fileOf(1), newer);
  await expect(open().read()).rejects.toThrow(/1' cannot be used: it has version 2, this colo/);
  expect(await open().compareAndSet(undefined, arbiterRecord({ owner: 'beta' }))).toBe('lost');
  expect(readFileSync(fileOf(1), 'utf8')).toBe(newer);
});

test('several questions at once each have their turn', async () => {
  const arbiter = open();
  const asked = [
    arbiter.place(),
    arbiter.compareAndSet(undefined, arbiterRecord()),
    arbiter.read(),
  ];
  expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual(
    asked.map(() => 'fulfilled'),
  );
});

test('a directory that is not there is an arbiter that is away', async () => {
  const away = new FileArbiter(folders.open(join(dir, 'none')), clock, entropy, 1000);
  await expect(away.read()).rejects.toThrow(ArbiterAway);
  await expect(away.compareAndSet(undefined, arbiterRecord())).rejects.toThrow(
    /the arbiter 'file:.*none' is away: Could not write '.*': No such file or directory/,
  );
});

test('one directory is one place, by whatever path; another one is another', async () => {
  symlinkSync(dir, `${dir}-there`);
  const other = mkdtempSync(join(tmpdir(), 'arbiter-'));
  try {
    const there = open(folders.open(`${dir}-there`));
    const [a, b, c] = await Promise.all([open(), there, open(folders.open(other))].map(placeOf));
    expect([b, a === c]).toEqual([a, false]);
    writeFileSync(join(other, 'id'), 'mine');
    await expect(open(folders.open(other)).place()).rejects.toThrow(
      "its file 'id' is none of colo",
    );
  } finally {
    unlinkSync(`${dir}-there`);
    rmSync(other, { recursive: true });
  }
});

const placeOf = (arbiter: FileArbiter) => arbiter.place();

test('a directory that is not mounted any more is an arbiter that is away, and won by nobody', async () => {
  const arbiter = open();
  // What was there before the first record is not what counts.
  renameSync(dir, `${dir}-mounted`);
  mkdirSync(dir);
  await arbiter.place();
  rmSync(dir, { recursive: true });
  renameSync(`${dir}-mounted`, dir);
  await arbiter.compareAndSet(undefined, arbiterRecord());
  renameSync(dir, `${dir}-mounted`);
  mkdirSync(dir);
  const gone = /is away: another directory is there than before: mount it/;
  await expect(arbiter.read()).rejects.toThrow(gone);
  await expect(arbiter.compareAndSet(undefined, arbiterRecord())).rejects.toThrow(ArbiterAway);
  expect(readdirSync(dir)).toEqual([]);
  // Nor where another has been made there meanwhile.
  await open().place();
  await expect(arbiter.read()).rejects.toThrow(gone);
  rmSync(dir, { recursive: true });
  renameSync(`${dir}-mounted`, dir);
  expect((await arbiter.read())?.record.term).toBe(1);
});

test('a file system that hangs costs the bound once, then it is refused at once', async () => {
  const hangs: RecordFolder = {
    ...folders.open(dir),
    path: dir,
    read: async () => undefined,
    names: () => new Promise(() => {}),
  };
  const arbiter = new FileArbiter(hangs, clock, entropy, 100);
  await expect(arbiter.read()).rejects.toThrow(/read: no answer within 100 ms/);
  await expect(arbiter.read()).rejects.toThrow(/read: the question before has no answer yet/);
});

test('a change to a number that was freed long ago has lost, and leaves nothing', async () => {
  await setTerms(20);
  const held = { record: arbiterRecord({ term: 1 }), version: '1' };
  expect(await open().compareAndSet(held, arbiterRecord({ term: 2, owner: 'beta' }))).toBe('lost');
  expect(readdirSync(dir).length).toBe(16 + 1);
});
