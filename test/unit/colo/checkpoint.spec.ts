/**
 * Goal: a disk that cannot be cut ends the checkpoint, not the process. Method: two disks, the
 * second of which lost its replica just then, while a write of the first is under way.
 */
import { VmError } from '../../../src/base/errors.js';
import { ManualClock, turn } from '../../support/block-host.js';
import { Checkpoint, type CheckpointContext } from '../../../src/colo/checkpoint.js';

test(
  'the second of two disks cannot be cut: the first one is given up, and nothing is left that ' +
    'rejects unheard',
  async () => {
    const unheard: unknown[] = [];
    const listener = (reason: unknown) => unheard.push(reason);
    process.on('unhandledRejection', listener);
    let giveUp: (error: Error) => void = () => undefined;
    const first = {
      name: 'one',
      cut: () => ({ epochDone: new Promise<number>((_, reject) => (giveUp = reject)) }),
      aborted: () => giveUp(new VmError('the checkpoint was given up')),
    };
    const second = {
      name: 'two',
      cut: () => {
        throw new VmError('block replication is not running');
      },
      aborted: () => undefined,
    };
    const lifecycle = {
      ram: {
        dirtyLog: { count: () => 0, take: () => new Uint32Array(0), restore: () => undefined },
      },
      saveDevices: () => Buffer.alloc(1),
      stopForCheckpoint: async () => undefined,
      resumeAfterCheckpoint: () => undefined,
      failure: undefined,
    };
    const wiring = {
      ports: {
        lifecycle,
        clock: { nowMs: () => 0 },
        step: () => undefined,
        options: { blobBytesMax: 10, replyTimeoutMs: 1, loopLimitMs: 1, copyBytesPerMs: 1 },
      },
      link: { send: async () => undefined, expect: async () => undefined },
      disks: [first, second],
      outputHolds: [],
      staging: { prepare: async () => undefined, fill: () => undefined },
    };
    const checkpoint = new Checkpoint(1, wiring as unknown as CheckpointContext, {} as never);
    await expect(checkpoint.run()).rejects.toThrow('block replication is not running');
    await checkpoint.abort();
    await new Promise(resolve => setImmediate(resolve));
    process.off('unhandledRejection', listener);
    expect(unheard).toEqual([]);
  },
);

test('a long copy is announced before it begins, and a short one is not', async () => {
  const run = async (dirty: number) => {
    const order: string[] = [];
    const lifecycle = {
      ram: { dirtyLog: { count: () => dirty, take: () => new Uint32Array(dirty) } },
      saveDevices: () => {
        throw new VmError('far enough');
      },
      stopForCheckpoint: async () => void order.push('stopped'),
      resumeAfterCheckpoint: () => undefined,
      failure: undefined,
    };
    const options = {
      blobBytesMax: 10,
      replyTimeoutMs: 1,
      loopLimitMs: 400,
      copyBytesPerMs: 4096,
    };
    const send = async ({ type, pages }: { type: string; pages?: number }) => {
      // It has to leave: what is only queued is said after the copy.
      await new Promise(resolve => setImmediate(resolve));
      order.push(pages === undefined ? type : `${type} ${pages}`);
    };
    const clock = { nowMs: () => 0, timer: () => ({ dispose: () => undefined }) };
    const wiring = {
      ports: { lifecycle, clock, step: () => undefined, options },
      link: { send, expect: async () => undefined },
      disks: [],
      outputHolds: [],
      staging: { prepare: async () => undefined, fill: () => order.push('copied') },
    };
    const checkpoint = new Checkpoint(
      1,
      wiring as unknown as CheckpointContext,
      {
        busy: (ms: number) => void order.push(`busy ${ms}`),
      } as never,
    );
    await expect(checkpoint.run()).rejects.toThrow('far enough');
    return order;
  };
  expect(await run(100)).toEqual(['checkpoint-request', 'stopped', 'copied']);
  expect(await run(101)).toEqual([
    'checkpoint-request',
    'stopped',
    'busy 101',
    'copying 101',
    'copied',
  ]);
});

test('a wire that is full does not hold the guest up', async () => {
  const clock = new ManualClock();
  let copied = false;
  const lifecycle = {
    ram: { dirtyLog: { count: () => 9, take: () => new Uint32Array(9) } },
    saveDevices: () => {
      throw new VmError('far enough');
    },
    stopForCheckpoint: async () => undefined,
    resumeAfterCheckpoint: () => undefined,
    failure: undefined,
  };
  const options = { replyTimeoutMs: 1, loopLimitMs: 4, copyBytesPerMs: 4096 };
  const wiring = {
    ports: { lifecycle, clock, step: () => undefined, options },
    link: {
      send: ({ type }: { type: string }) =>
        type === 'copying' ? new Promise(() => undefined) : Promise.resolve(),
      expect: async () => undefined,
    },
    staging: { prepare: async () => undefined, fill: () => void (copied = true) },
  };
  const checkpoint = new Checkpoint(
    1,
    wiring as unknown as CheckpointContext,
    {
      busy: () => undefined,
    } as never,
  );
  const run = expect(checkpoint.run()).rejects.toThrow('far enough');
  await turn();
  await clock.advance(50);
  await run;
  expect(copied).toBe(true);
});
