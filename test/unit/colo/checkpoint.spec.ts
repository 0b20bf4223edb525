/**
 * Goal: a disk that cannot be cut ends the checkpoint, not the process. Method: two disks, the
 * second of which lost its replica just then, while a write of the first is under way.
 */
import { VmError } from '../../../src/base/errors.js';
import { Checkpoint, type CheckpointWiring } from '../../../src/colo/checkpoint.js';

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
      ram: { dirtyLog: { take: () => new Uint32Array(0), restore: () => undefined } },
      saveDevices: () => Buffer.alloc(1),
      stopForCheckpoint: async () => undefined,
      resumeAfterCheckpoint: () => undefined,
      failure: undefined,
    };
    const wiring = {
      parts: {
        lifecycle,
        clock: { nowMs: () => 0 },
        step: () => undefined,
        options: { blobBytesMax: 10, replyTimeoutMs: 1 },
      },
      link: { send: async () => undefined, expect: async () => undefined },
      disks: [first, second],
      outputs: [],
      staging: { fill: () => undefined },
    };
    const checkpoint = new Checkpoint(1, wiring as unknown as CheckpointWiring, {} as never);
    await expect(checkpoint.run()).rejects.toThrow('block replication is not running');
    await checkpoint.abort();
    await new Promise(resolve => setImmediate(resolve));
    process.off('unhandledRejection', listener);
    expect(unheard).toEqual([]);
  },
);
