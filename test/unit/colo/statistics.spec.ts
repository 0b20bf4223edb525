/**
 * Goal: the ring keeps the last 1024 checkpoints, and percentiles are ranks of what really
 * happened.
 */
import { ColoStatistics } from '../../../src/colo/statistics.js';

const record = (epoch: number) => ({
  epoch,
  pauseMs: epoch,
  receivedMs: 0,
  totalMs: 0,
  pages: 4,
  cacheHits: epoch % 2,
  ramBytes: 0,
  blobBytes: 0,
});

it('has nothing to say before the first', () => {
  const s = new ColoStatistics();
  expect([s.last(), s.percentile('pauseMs', 0.5)]).toEqual([undefined, undefined]);
});

it('ranks the last 1024', () => {
  const s = new ColoStatistics();
  for (let i = 1; i <= 2000; i++) s.add(record(i));
  expect(s.last()?.epoch).toBe(2000);
  expect(s.percentile('pauseMs', 0)).toBe(977);
  expect(s.percentile('pauseMs', 0.5)).toBe(1488);
  expect(s.percentile('pauseMs', 0.99)).toBe(1990);
  expect(s.percentile('pauseMs', 1)).toBe(2000);
});

it('divides sums of what is kept', () => {
  const s = new ColoStatistics();
  expect(s.ratio('cacheHits', 'pages')).toBe(0);
  for (let i = 1; i <= 2000; i++) s.add(record(i));
  expect(s.ratio('cacheHits', 'pages')).toBe(1 / 8);
});

it('counts aborts in a row until one succeeds', () => {
  const s = new ColoStatistics();
  s.abort('a');
  s.abort('b');
  expect([s.aborted, s.abortedInRow, s.lastAbort]).toEqual([2, 2, 'b']);
  s.add(record(1));
  expect([s.aborted, s.abortedInRow]).toEqual([2, 0]);
});

it('the usual pause follows the newest ones, and one that was long does not last', () => {
  const s = new ColoStatistics();
  expect(s.usualPauseMs).toBe(0);
  for (let n = 0; n < 5; n++) s.add(record(4));
  expect(s.usualPauseMs).toBe(4);
  s.add(record(84));
  expect(s.usualPauseMs).toBe(14);
  for (let n = 0; n < 40; n++) s.add(record(4));
  expect(s.usualPauseMs).toBeLessThan(4.1);
});
