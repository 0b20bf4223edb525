/**
 * Goal: an epoch of more than 4 GiB goes from staging to RAM, and what that took of memory is given
 * back. Method: a RAM that keeps the few pages that are not zeroes, so that nothing of that size is
 * ever touched.
 */
import type { Ram } from '../../../src/accel/contract.js';
import { kindOf } from '../../../src/colo/messages.js';
import { StagedEpoch } from '../../../src/colo/staged-epoch.js';
import { frameHead } from '../../../src/migration/frames.js';
import {
  PageStaging,
  CHUNK_PAGES_MAX,
  decodeChunk,
  encodePageChunk,
  PAGE_BYTES,
} from '../../../src/migration/pages.js';
import { Turns } from '../../../src/migration/turns.js';
import { TurnClock } from '../../support/turn-clock.js';

/** 4 GiB and a chunk that is not whole. */
const PAGES = 2 ** 20 + 100;
/** In the first and the last page, and on both sides of 1, 2 and 4 GiB. */
const HELD = [0, 2 ** 18 - 1, 2 ** 18, 2 ** 19 - 1, 2 ** 19, 2 ** 20 - 1, 2 ** 20, PAGES - 1];

class SparseRam {
  readonly pageCount = PAGES;
  readonly held = new Map<number, number>();
  zeroed = 0;
  largest = 0;

  /** out reads as zeroes already. */
  gather(pages: Uint32Array, out: Buffer): void {
    this.largest = Math.max(this.largest, out.length);
    for (const [page, word] of this.held) {
      const at = page - pages[0];
      if (at >= 0 && at < pages.length) out.writeUInt32LE(word, at * PAGE_BYTES);
    }
  }

  scatter(pages: Uint32Array, data: Buffer): void {
    pages.forEach((page, i) => this.held.set(page, data.readUInt32LE(i * PAGE_BYTES)));
  }

  zero(pages: Uint32Array): void {
    this.zeroed += pages.length;
  }

  get face(): Ram {
    return this as unknown as Ram;
  }
}

/** Where the chunks begin that are sent: to look at all of the zeroes would take seconds. */
const chunks = [...new Set(HELD.map(page => page - (page % CHUNK_PAGES_MAX)))];
const all = Uint32Array.from({ length: PAGES }, (_, page) => page);
const body = (staging: PageStaging, from: number, to: number) => {
  const kind = kindOf('pages');
  return encodePageChunk(kind, staging, from, to).subarray(frameHead(kind.ordinal));
};

let allocate: jest.SpyInstance;
beforeEach(() => {
  // Zeroes that are never touched cost nothing.
  allocate = jest.spyOn(Buffer, 'allocUnsafeSlow').mockImplementation(size => Buffer.alloc(size));
});
afterEach(() => allocate.mockRestore());

test('all of it arrives: each page with its content', async () => {
  const [from, to] = [new SparseRam(), new SparseRam()];
  for (const page of HELD) from.held.set(page, page + 1);
  const staging = new PageStaging();
  staging.fill(from.face, all);
  const epoch = new StagedEpoch(to.face);
  for (const at of chunks) epoch.add(body(staging, at, Math.min(PAGES, at + CHUNK_PAGES_MAX)));
  await epoch.apply(new Turns(new TurnClock(), Infinity), () => undefined);
  expect([...to.held]).toEqual([...from.held]);
  expect(to.zeroed).toBe(epoch.pages - HELD.length);
});

test('the main loop has its turn while an epoch is applied', async () => {
  const [from, to] = [new SparseRam(), new SparseRam()];
  const staging = new PageStaging();
  staging.fill(from.face, all.subarray(0, 8 * CHUNK_PAGES_MAX));
  const epoch = new StagedEpoch(to.face);
  for (let n = 0; n < 8; n++)
    epoch.add(body(staging, n * CHUNK_PAGES_MAX, (n + 1) * CHUNK_PAGES_MAX));
  const clock = new TurnClock();
  const applied = epoch.apply(new Turns(clock, 2 * 2 ** 20), () => undefined);
  await clock.turn();
  for (let chunks = 2; chunks <= 8; chunks += 2) {
    expect(to.zeroed).toBe(chunks * CHUNK_PAGES_MAX);
    await clock.turn();
  }
  await applied;
});

test('the staging area is made before the pause, kept, and shrinks when little is used', async () => {
  const ram = new SparseRam();
  const staging = new PageStaging();
  const turns = new Turns(new TurnClock(), Infinity);
  const kept = () => staging.heldBytes / 2 ** 20;
  const pages = (mib: number) => (mib * 2 ** 20) / PAGE_BYTES;
  const epoch = async (mib: number) => {
    await staging.prepare(pages(mib), turns);
    const held = kept();
    staging.fill(ram.face, all.subarray(0, pages(mib)));
    return [held, kept()];
  };
  expect(await epoch(200)).toEqual([228, 228]);
  expect(ram.largest).toBe(4 * 2 ** 20);
  for (let small = 1; small < 8; small++) expect(await epoch(2)).toEqual([228, 228]);
  // A large one in between: it is in use.
  expect(await epoch(100)).toEqual([228, 228]);
  for (let small = 1; small < 8; small++) expect(await epoch(2)).toEqual([228, 228]);
  ram.held.set(5, 7);
  expect(await epoch(2)).toEqual([64, 64]);
  expect(decodeChunk(body(staging, 5, 6), PAGES, -1).data.readUInt32LE()).toBe(7);
  // More than was counted: what is missing is made while the guest waits.
  staging.fill(ram.face, all.subarray(0, pages(80)));
  expect(kept()).toBe(80);
});

test('a host without memory for it gets a sentence', () => {
  allocate.mockImplementation(() => {
    throw new RangeError('Array buffer allocation failed');
  });
  const staging = new PageStaging();
  expect(() => staging.fill(new SparseRam().face, all)).toThrow(
    'this host has no memory for a copy of the dirty pages',
  );
  expect(staging.pages).toBe(all);
});
