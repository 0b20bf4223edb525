/**
 * Goal: a discard of a large disk full of holes costs a few operations at each layer, and a guest
 * that is to stop waits for one piece of it. Method: the layers over disks that count what is asked
 * of them.
 */
import { DriveBackend } from '../../../../src/block/backend/backend.js';
import { CopyBeforeWrite } from '../../../../src/block/drivers/replication/copy-before-write.js';
import type { BlockDriver } from '../../../../src/block/contract/driver.js';
import { MemoryDriver } from '../../../../src/block/drivers/memory.js';
import { QuorumDriver } from '../../../../src/block/drivers/quorum.js';
import { ReplicationPrimary } from '../../../../src/block/drivers/replication/primary.js';
import { defaultForwardLimits } from '../../../../src/block/drivers/replication/forward-queue.js';
import { BlockNode } from '../../../../src/block/contract/node.js';
import { RangeLock } from '../../../../src/base/range-lock.js';
import { pattern, turns } from '../../../support/block-host.js';

const GiB = 2 ** 30;
const LENGTH = 64 * GiB;
const PIECE = 128 << 20;

/** Holes, but for what is data; counts. */
function holes(more: Partial<BlockDriver> = {}) {
  const calls: string[] = [];
  const driver = {
    format: 'holes',
    length: LENGTH,
    readOnly: false,
    pread: async (_offset: number, length: number) => (
      calls.push('pread'),
      Buffer.alloc(length, 7)
    ),
    pwrite: async () => void calls.push('pwrite'),
    writeZeroes: async () => void calls.push('writeZeroes'),
    discard: async () => void calls.push('discard'),
    flush: async () => undefined,
    close: async () => undefined,
    describe: () => ({}),
    blockStatus: async (offset: number, length: number) => {
      calls.push('blockStatus');
      // One MiB of data at 1 GiB, and not at the ends of units.
      const [start, end] = [GiB + 512, GiB + 512 + (1 << 20)];
      if (offset >= start && offset < end)
        return { length: Math.min(length, end - offset), allocated: true, zero: false };
      const stop = offset < start ? Math.min(start, offset + length) : offset + length;
      return { length: stop - offset, allocated: false, zero: true };
    },
    ...more,
  } as BlockDriver;
  return {
    calls,
    node: new BlockNode('holes', driver),
    count: (what: string) => calls.filter(call => call === what).length,
  };
}

test('the secondary saves it by questions: only data is read', async () => {
  const disk = holes();
  const hidden = new MemoryDriver({ maxBytes: 16 << 20, readOnly: false }, disk.node);
  const saver = new CopyBeforeWrite(disk.node, hidden, new RangeLock(), () => undefined);
  for (let at = 0; at < LENGTH; at += PIECE) await saver.around(at, PIECE, async () => undefined);
  expect(disk.count('pread')).toBeLessThanOrEqual(4);
  expect(disk.count('blockStatus')).toBeLessThan(600);
  expect(hidden.bytes).toBeLessThan(3 << 20);
  expect([...hidden.extents(1 << 20)].reduce((sum, { length }) => sum + length, 0)).toBe(LENGTH);
  // What was data is data in the undo.
  expect((await hidden.pread(GiB + 512, 512)).equals(Buffer.alloc(512, 7))).toBe(true);
  const before = disk.calls.length;
  await saver.around(0, 4 * GiB, async () => undefined);
  expect(disk.calls.length).toBe(before);
});

test('the primary forwards zeroes whole, one write in the count for each', async () => {
  const replica = holes({ maxTransfer: 1 << 20, maxZeroes: 0xffff_0000 });
  const local = holes();
  const follower = new ReplicationPrimary(replica.node, {
    limits: defaultForwardLimits,
    assumeInSync: true,
  });
  const quorum = new QuorumDriver(
    { name: 'q', readPattern: 'fifo', voteThreshold: 1 },
    new Map([
      ['children.0', local.node],
      ['children.1', new BlockNode('r', follower)],
    ]),
  );
  await follower.start();
  for (let at = 0; at < LENGTH; at += 2 * GiB) await quorum.writeZeroes(at, 2 * GiB);
  expect(await follower.cut().epochDone).toBe(32);
  expect(replica.calls).toEqual(Array(32).fill('writeZeroes'));
  await follower.pwrite(0, pattern(65536));
  await follower.close();
});

test('a stop waits for one piece, and the guest keeps the rest until it runs again', async () => {
  let go: () => void = () => undefined;
  const disk = holes({ discard: () => new Promise<void>(resolve => (go = resolve)) });
  const backend = new DriveBackend('d', disk.node, {
    readOnly: false,
    cache: 'writeback',
    stopVm: () => expect('the VM').toBe('running'),
  });
  const results = Array.from({ length: 8 }, (_, n) =>
    backend.discard(n * PIECE, PIECE).then(
      () => 'done',
      (error: unknown) => backend.errorAction('write', error),
    ),
  );
  await turns(3);
  const drained = backend.drain();
  expect(await Promise.all(results.slice(1))).toEqual(Array(7).fill('stop'));
  go();
  await drained;
  expect(await results[0]).toBe('done');
  expect(backend.ioStatus).toBe('ok');
  const again = backend.discard(PIECE, PIECE);
  await turns(3);
  go();
  await again;
});
