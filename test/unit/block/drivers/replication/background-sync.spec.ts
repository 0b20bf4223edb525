/**
 * Goal: what arrives at a replica is made durable as it comes, one sync at a time, and a sync that
 * fails is an error of the replica at once. Method: the driver's part alone, and a pair over
 * simulated files that know what is durable.
 */
import { VmError } from '../../../../../src/base/errors.js';
import {
  BackgroundSync,
  SYNC_BYTES,
} from '../../../../../src/block/drivers/replication/background-sync.js';
import { expectSame, pattern, turns } from '../../../../support/block-host.js';
import { MiB, startedPair } from '../../../../support/block-pair.js';

describe('alone', () => {
  const setUp = () => {
    const ends: ((error?: Error) => void)[] = [];
    const failures: VmError[] = [];
    const flush = () =>
      new Promise<void>((resolve, reject) => {
        ends.push(error => (error ? reject(error) : resolve()));
      });
    const sync = new BackgroundSync(flush, error => void failures.push(error));
    return { ends, failures, sync };
  };

  test('begins at the bound, and one at a time', async () => {
    const { ends, sync } = setUp();
    sync.wrote(SYNC_BYTES - 1);
    expect(ends.length).toBe(0);
    sync.wrote(1);
    expect(ends.length).toBe(1);
    sync.wrote(5 * SYNC_BYTES);
    await turns(2);
    expect(ends.length).toBe(1);
    ends[0]();
    await turns(2);
    expect(ends.length).toBe(2);
    let settled = false;
    void sync.settled().then(() => (settled = true));
    await turns(2);
    expect(settled).toBe(false);
    ends[1]();
    await turns(2);
    expect([settled, ends.length]).toEqual([true, 2]);
  });

  test('a failure is reported, and the next sync begins all the same', async () => {
    const { ends, failures, sync } = setUp();
    sync.wrote(SYNC_BYTES);
    ends[0](new VmError('no'));
    await turns(2);
    expect(failures.map(({ message }) => message)).toEqual(['no']);
    sync.wrote(SYNC_BYTES);
    expect(ends.length).toBe(2);
  });
});

const full = async () => {
  const pair = await startedPair({ image: Buffer.alloc(SYNC_BYTES + MiB) });
  for (let n = 0; n < SYNC_BYTES / MiB; n++) await pair.pvm.pwrite(n * MiB, pattern(MiB, n));
  await pair.p.cut().epochDone;
  await turns(20);
  return pair;
};

test('what has arrived is durable before a takeover asks for it', async () => {
  const { secondaryHost } = await full();
  const durable = secondaryHost.files.durable('/s.img');
  for (let n = 0; n < SYNC_BYTES / MiB; n++)
    expectSame(durable.subarray(n * MiB, (n + 1) * MiB), pattern(MiB, n));
});

test("a sync that fails is the replica's error, before anybody relies on it", async () => {
  const pair = await startedPair({ image: Buffer.alloc(SYNC_BYTES) });
  pair.secondaryHost.files.fault = operation => {
    if (operation === 'fdatasync') throw Object.assign(new Error('no'), { code: 'EIO' });
  };
  for (let n = 0; n < SYNC_BYTES / MiB; n++) await pair.pvm.pwrite(n * MiB, pattern(MiB, n));
  await pair.p.cut().epochDone;
  await turns(20);
  expect(pair.s.error()?.message).toBe("syncing the secondary disk 'node0': no");
});
