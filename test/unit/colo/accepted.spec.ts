/**
 * Goal: pages are packed for a secondary that says that it takes them, and for no other. Method:
 * the messages of both kinds of secondary, and a checkpoint up to its first pages.
 */
import { accepted } from '../../../src/colo/accepted.js';
import { Checkpoint, type CheckpointContext } from '../../../src/colo/checkpoint.js';
import { kindOf } from '../../../src/colo/messages.js';
import { PagePacker } from '../../../src/migration/packed-pages.js';
import { PageStaging } from '../../../src/migration/pages.js';
import { SimRam } from '../../support/sim/ram.js';

const answer = (...types: string[]) => {
  const link = { next: async () => ({ type: types.shift() }) };
  return accepted(link as never, { options: { replyTimeoutMs: 1 } } as never);
};

test('it is said before accept, or not at all', async () => {
  expect(await answer('accept')).toEqual({ disks: [], takesPacked: false });
  expect(await answer('takes-packed', 'accept')).toEqual({ disks: [], takesPacked: true });
  await expect(answer('takes-packed', 'takes-packed')).rejects.toThrow(
    'unexpected message takes-packed where accept must come',
  );
});

test.each([
  ['pages', false],
  ['packed-pages', true],
])('a checkpoint sends %s', async (type, packs) => {
  const ram = new SimRam(16 * 4096);
  const sent: string[] = [];
  const ports = {
    lifecycle: {
      ram,
      saveDevices: () => Buffer.alloc(1),
      stopForCheckpoint: async () => undefined,
      resumeAfterCheckpoint: () => undefined,
    },
    clock: { nowMs: () => 0 },
    step: () => undefined,
    migration: { received: () => undefined },
    parameters: { xbzrleCacheBytes: 4096 * 4 },
    options: {
      chunkPages: 4,
      blobBytesMax: 10,
      loopLimitMs: 9,
      copyBytesPerMs: 2 ** 20,
      turnBytes: 2 ** 30,
    },
  };
  const link = {
    send: async () => undefined,
    expect: async () => undefined,
    sendFrame: async (message: { type: string; body: Buffer }) => void sent.push(message.type),
    guard: () => Promise.reject(new Error('far enough')),
  };
  const context = {
    ports,
    link,
    disks: [],
    outputHolds: [],
    staging: new PageStaging(),
    packer: packs ? new PagePacker(ram, kindOf('packed-pages')) : undefined,
    last: false,
  };
  ram.dirtyLog.start();
  ram.fill(0, 6 * 4096, 7);
  const checkpoint = new Checkpoint(1, context as unknown as CheckpointContext, {} as never);
  await expect(checkpoint.run()).rejects.toThrow('far enough');
  expect(sent).toEqual([type, type]);
});
