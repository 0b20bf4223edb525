/**
 * Goal: a first round carries all of RAM and reads no hole of it, but for short ones. Method:
 * rounds from one RAM into another that is full of rubbish.
 */
import {
  type PageStaging,
  applyChunk,
  chunkBytesMax,
  decodeChunk,
  encodePageChunk,
  PAGE_BYTES,
} from '../../../src/migration/pages.js';
import { frameHead } from '../../../src/migration/frames.js';
import { sendRound } from '../../../src/migration/precopy.js';
import { Turns } from '../../../src/migration/turns.js';
import { ManualClock } from '../../support/block-host.js';
import { TurnClock } from '../../support/turn-clock.js';
import { FakeRam } from '../../support/fake-ram.js';

const kind = { name: 'pages', ordinal: 67, bytes: chunkBytesMax };
const PAGES = 400;

/** Pages that hold something; what the round read, what each chunk had. */
async function round(held: readonly number[], chunkPages: number, only?: Uint32Array) {
  const [from, to] = [new FakeRam(PAGES * PAGE_BYTES), new FakeRam(PAGES * PAGE_BYTES)];
  for (const page of held) from.writeU32(page * PAGE_BYTES + 8, page + 1);
  to.fill(0, to.size, 0xee);
  const read: number[] = [];
  const gather = from.gather.bind(from);
  from.gather = (pages, out) => (read.push(...pages), gather(pages, out));
  const sizes: number[] = [];
  let last = -1;
  const sendChunk = async (staging: PageStaging, first: number, end: number) => {
    const chunk = decodeChunk(
      encodePageChunk(kind, staging, first, end).subarray(frameHead(kind.ordinal)),
      PAGES,
      last,
    );
    last = chunk.last;
    sizes.push(end - first);
    applyChunk(to, chunk);
  };
  await sendRound(
    from,
    only,
    { sendChunk, endRound: async () => void (last = -1), progress: () => undefined },
    { chunkPages: () => chunkPages, turns: new Turns(new ManualClock(), Infinity) },
  );
  return { from, to, read, sizes };
}

test.each([
  ['nothing is held', []],
  ['the ends', [0, PAGES - 1]],
  ['a run in the middle', [100, 101, 102, 200]],
  ['all', Array.from({ length: PAGES }, (_, page) => page)],
])('every page arrives, and holes are not read: %s', async (_, held) => {
  const { from, to, read, sizes } = await round(held, 64);
  expect(to.bytes.equals(from.bytes)).toBe(true);
  expect(read).toEqual(held);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(64);
});

test('a short hole is read along with its neighbours', async () => {
  const { from, to, read, sizes } = await round([10, 12, 41, 80], 256);
  expect(to.bytes.equals(from.bytes)).toBe(true);
  expect(read).toEqual([...Array.from({ length: 32 }, (_, i) => 10 + i), 80]);
  expect(sizes).toEqual([10, 32, 38, 1, 256, 63]);
});

test('a later round carries the pages that it is given, and no others', async () => {
  const { to, read, sizes } = await round([1, 2, 3, 4, 5], 2, Uint32Array.from([1, 3, 5]));
  expect([read, sizes]).toEqual([
    [1, 3, 5],
    [2, 1],
  ]);
  expect(to.readU32(2 * PAGE_BYTES + 8)).toBe(0xeeeeeeee);
});

test.each([
  ['data', Uint32Array.from({ length: 64 }, (_, page) => page)],
  ['all of RAM, holes included', undefined],
])('the main loop has its turn between chunks that leave at once: %s', async (_, pages) => {
  const ram = new FakeRam(PAGES * PAGE_BYTES);
  ram.fill(0, 64 * PAGE_BYTES, 1);
  const clock = new TurnClock();
  let chunks = 0;
  const target = {
    sendChunk: async () => void chunks++,
    endRound: async () => undefined,
    progress: () => undefined,
  };
  const turns = new Turns(clock, 16 * PAGE_BYTES);
  const round = sendRound(ram, pages, target, { chunkPages: () => 8, turns });
  const seen: number[] = [];
  await clock.turn();
  for (let turn = 0; turn < 4; turn++) {
    seen.push(chunks);
    await clock.turn();
  }
  expect(seen).toEqual([2, 4, 6, 8]);
  while (!clock.idle) await clock.turn();
  await round;
  expect(chunks).toBe((pages?.length ?? PAGES) / 8);
});
