/**
 * Goal: a page counts from content that the other side has loaded, or from none; what comes again
 * in each epoch keeps its place, also where there is not room for all.
 */
import { SentPages } from '../../../src/migration/sent-pages.js';
import { WHOLE_TAG, ZEROES_TAG } from '../../../src/migration/page-tags.js';

const PAGE = 4096;
const DELTA = 20;
const ROOM = 16 * PAGE;

/** One epoch: which of the pages had a base. */
function epoch(sent: SentPages, pages: number[], tag = DELTA, room = ROOM): number[] {
  sent.begin(room);
  return more(sent, pages, tag);
}
function more(sent: SentPages, pages: number[], tag = DELTA): number[] {
  const list = Uint32Array.from(pages);
  const { bases, keeps } = sent.place(list);
  const known = pages.filter((_, i) => bases[i] >= 0);
  expect(bases.every((base, i) => base < 0 || base === keeps[i])).toBe(true);
  const taken = [...keeps].filter(at => at >= 0);
  expect(new Set(taken).size).toBe(taken.length);
  sent.note(
    list,
    Uint16Array.from(pages, (_, i) => (bases[i] < 0 ? WHOLE_TAG : tag)),
  );
  return known;
}

test('the second time a page has a base, if the first has been loaded', () => {
  const sent = new SentPages(64);
  expect(epoch(sent, [1, 2])).toEqual([]);
  sent.settle();
  expect(epoch(sent, [1, 2, 3])).toEqual([1, 2]);
  expect(sent.hits).toBe(2);
  // This one is given up: of pages 1 to 3 the other side has what was before.
  expect(epoch(sent, [1, 2, 3])).toEqual([]);
  sent.settle();
  expect(epoch(sent, [1, 2, 3])).toEqual([1, 2, 3]);
});

test('of more pages than places those that came first stay', () => {
  const sent = new SentPages(64);
  const all = [...Array(24).keys()];
  epoch(sent, all);
  for (let n = 0; n < 5; n++) {
    sent.settle();
    expect(epoch(sent, all)).toEqual(all.slice(0, 16));
  }
  sent.settle();
  // What is not sent for two epochs makes room.
  epoch(sent, []);
  sent.settle();
  expect(epoch(sent, [20])).toEqual([]);
  sent.settle();
  expect(epoch(sent, [20])).toEqual([20]);
});

test('a page of zeroes is forgotten', () => {
  const sent = new SentPages(64);
  epoch(sent, [5]);
  sent.settle();
  expect(epoch(sent, [5], ZEROES_TAG)).toEqual([5]);
  sent.settle();
  expect(epoch(sent, [5])).toEqual([]);
});

test('a page of which nothing is ever the same is looked at now and then', () => {
  const sent = new SentPages(64);
  const looks = Array.from({ length: 30 }, () => {
    const known = epoch(sent, [5], WHOLE_TAG);
    sent.settle();
    return known.length;
  });
  expect(looks.reduce((all, n) => all + n, 0)).toBe(4);
});

test('another size has nothing, none keeps nothing, and RAM is the most', () => {
  const sent = new SentPages(64);
  epoch(sent, [1]);
  sent.settle();
  expect(epoch(sent, [1], DELTA, 8 * PAGE)).toEqual([]);
  sent.settle();
  expect(epoch(sent, [1], DELTA, 0)).toEqual([]);
  expect(sent.store.length).toBe(0);
  sent.begin(2 ** 32 - 1);
  expect(sent.store.length).toBe(64 * PAGE);
});
