/**
 * Goal: the way of the disks into COLO is told in bytes, phase by phase. Method: two disks of the
 * test, one of them vouched for.
 */
import type { Replicated } from '../../../src/block/contract/replicated.js';
import { DiskSync } from '../../../src/colo/disk-sync.js';

const disk = (name: string, length: number, assumed = false) =>
  ({ name, length, sync: { assumed }, behindBytes: 0 }) as unknown as Replicated & {
    behindBytes: number;
  };

test('digest, compare, nothing, copy, nothing', () => {
  const a = disk('a', 1000);
  const b = disk('b', 500);
  const behindBytes = () => a.behindBytes + b.behindBytes;
  const sync = new DiskSync([a, b, disk('vouched', 9000, true)], behindBytes);
  expect(sync.info).toBeUndefined();
  sync.begin('digest');
  expect(sync.info).toEqual({ phase: 'digest', doneBytes: 0, totalBytes: 1500 });
  sync.progress('compare', a, 400);
  sync.progress('compare', a, 1000);
  sync.progress('compare', b, 100);
  expect(sync.info).toEqual({ phase: 'compare', doneBytes: 1100, totalBytes: 1500 });
  sync.done();
  expect(sync.info).toBeUndefined();
  a.behindBytes = 300;
  sync.begin('copy');
  expect(sync.info).toEqual({ phase: 'copy', doneBytes: 0, totalBytes: 300 });
  a.behindBytes = 100;
  b.behindBytes = 50;
  expect(sync.info).toEqual({ phase: 'copy', doneBytes: 150, totalBytes: 300 });
  a.behindBytes = b.behindBytes = 0;
  expect(sync.info).toBeUndefined();
});

test('disks that are vouched for are not waited for', () => {
  const sync = new DiskSync([disk('vouched', 9000, true)]);
  sync.begin('digest');
  expect(sync.info).toBeUndefined();
});

test('a replica that is taken out meanwhile leaves the total as it was', () => {
  const gone = () => {
    throw new Error('the replica is not there');
  };
  const a = disk('a', 1000);
  const sync = new DiskSync([a]);
  sync.begin('digest');
  Object.defineProperty(a, 'sync', { get: gone });
  expect(sync.info).toEqual({ phase: 'digest', doneBytes: 0, totalBytes: 1000 });
});
