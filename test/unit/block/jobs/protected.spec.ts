/**
 * Goal: from the moment COLO takes its disks until it lets them go nothing changes below the guest,
 * in whatever phase, and each verb says why; and a disk that has changed all the same is an error,
 * never a silent loss of replication. Method: every verb in every phase.
 */
import { startCommit, startStream } from '../../../../src/block/jobs/start-commit.js';
import { startBackup, startMirror } from '../../../../src/block/jobs/start.js';
import { makeLimits } from '../../../../src/block/options/throttle-limits.js';
import { NbdClient } from '../../../../src/block/nbd/client.js';
import { NbdCmd } from '../../../../src/block/nbd/codec.js';
import {
  attachedPair,
  checkpoint,
  EXPORT,
  MiB,
  type Pair,
  startedPair,
} from '../../../support/block-pair.js';
import { expectSame, pattern, turns } from '../../../support/block-host.js';

async function withTarget(): Promise<Pair> {
  const pair = await attachedPair();
  for (const [layer, host] of [
    [pair.primary, pair.primaryHost],
    [pair.secondary, pair.secondaryHost],
  ] as const) {
    host.files.put('/t.img', Buffer.alloc(MiB));
    host.files.put('/spare.img', Buffer.alloc(MiB));
    await layer.blockdevAdd({
      driver: 'raw',
      'node-name': 'tgt',
      file: { driver: 'file', filename: '/t.img' },
    });
    await layer.blockdevAdd({
      driver: 'raw',
      'node-name': 'spare',
      file: { driver: 'file', filename: '/spare.img' },
    });
  }
  return pair;
}

const toPhase: Record<string, (pair: Pair) => Promise<void>> = {
  digests: async ({ p, s }) => {
    p.claim();
    s.claim();
  },
  precopy: async pair => {
    await toPhase.digests(pair);
    (await pair.p.sync.compare(await pair.s.sync.digest())).copy();
  },
  protected: async pair => {
    await toPhase.precopy(pair);
    await pair.s.start();
    await pair.p.start();
    await checkpoint(pair);
  },
};

const job = 'no block job can work';
const inUse = 'is in use by COLO';

type Verb = (pair: Pair) => unknown;
const onPrimary: [string, string, Verb][] = [
  [
    'blockdev-mirror',
    job,
    ({ primary }) =>
      startMirror(primary.startContext, { device: 'colo-disk0', target: 'tgt', sync: 'full' }),
  ],
  [
    'blockdev-backup',
    job,
    ({ primary }) =>
      startBackup(primary.startContext, { device: 'colo-disk0', target: 'tgt', sync: 'full' }),
  ],
  [
    'block-commit',
    job,
    ({ primary }) => startCommit(primary.startContext, { device: 'colo-disk0' }),
  ],
  [
    'block-stream',
    job,
    ({ primary }) => startStream(primary.startContext, { device: 'colo-disk0' }),
  ],
  ['block_resize', inUse, ({ primary }) => primary.resize('colo-disk0', 2 * MiB)],
  [
    'block_resize of the child',
    inUse,
    p =>
      p.primary.resize(
        p.primary.backend('colo-disk0').node.children.get('children.0')!.name,
        2 * MiB,
      ),
  ],
  [
    'x-blockdev-change, one more',
    inUse,
    ({ primary }) => primary.blockdevChange({ parent: 'colo-disk0', node: 'spare' }),
  ],
  [
    'x-blockdev-change, the local disk',
    inUse,
    ({ primary }) => primary.blockdevChange({ parent: 'colo-disk0', child: 'children.0' }),
  ],
  ['drive_del', inUse, ({ primary }) => primary.driveDel('colo-disk0')],
  ['drive_del of the replica', 'is in use by node', ({ primary }) => primary.driveDel('node0')],
];
const onSecondary: [string, string, Verb][] = [
  [
    'blockdev-mirror',
    job,
    ({ secondary }) =>
      startMirror(secondary.startContext, { device: 'active-disk0', target: 'tgt', sync: 'full' }),
  ],
  [
    'blockdev-backup',
    job,
    ({ secondary }) =>
      startBackup(secondary.startContext, { device: 'colo-disk0', target: 'tgt', sync: 'full' }),
  ],
  ['block_resize', inUse, ({ secondary }) => secondary.resize('active-disk0', 2 * MiB)],
  ['block_resize of the disk', inUse, ({ secondary }) => secondary.resize('colo-disk0', 2 * MiB)],
  ['drive_del', inUse, ({ secondary }) => secondary.driveDel('active-disk0')],
];

for (const phase of Object.keys(toPhase)) {
  test.each([
    ...onPrimary.map(([verb, why, run]) => ({ side: 'primary', verb, why, run })),
    ...onSecondary.map(([verb, why, run]) => ({ side: 'secondary', verb, why, run })),
  ])(`${phase}, $side: $verb is refused`, async ({ why, run }) => {
    const pair = await withTarget();
    await toPhase[phase](pair);
    await expect(Promise.resolve().then(() => run(pair))).rejects.toThrow(why);
    // Nothing has happened, and protection goes on.
    if (phase !== 'protected') {
      await pair.s.start();
      await pair.p.start();
    }
    await pair.pvm.pwrite(0, pattern(4096, 7));
    await checkpoint(pair);
    expect([pair.p.error(), pair.s.error()]).toEqual([undefined, undefined]);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
  });

  test(
    `${phase}: what harms nothing stays, and after stop() everything is there ` + 'again',
    async () => {
      const pair = await withTarget();
      await toPhase[phase](pair);
      pair.primary.setThrottle(
        'colo-disk0',
        makeLimits(name => ({ avg: name === 'bps-total' ? MiB : 0 })),
      );
      expect(pair.primary.queryBlock()[0].device).toBe('colo-disk0');
      await pair.p.stop();
      await pair.s.stop(false);
      await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'spare' });
      const running = await startBackup(pair.primary.startContext, {
        device: 'colo-disk0',
        target: 'tgt',
        sync: 'full',
      });
      running.cancel(true);
      await running.ended;
    },
  );
}

describe('a job of before', () => {
  const mirror = ({ primary }: Pair) =>
    startMirror(primary.startContext, {
      device: 'colo-disk0',
      target: 'tgt',
      sync: 'full',
      speed: 1,
    });

  test('is named when COLO takes the disks, and when it starts', async () => {
    const pair = await withTarget();
    const running = await mirror(pair);
    expect(() => pair.p.claim()).toThrow(
      "COLO is not possible while block job 'colo-disk0' (mirror) runs",
    );
    await expect(pair.p.start()).rejects.toThrow("block job 'colo-disk0' (mirror) runs");
    running.cancel(true);
    await running.ended;
    pair.p.claim();
  });

  test('whose target opens while COLO takes the disks does not begin', async () => {
    const pair = await withTarget();
    const target = { target: '/new.img', mode: 'absolute-paths', format: 'raw' } as const;
    pair.primaryHost.files.put('/new.img', Buffer.alloc(0));
    const started = startMirror(pair.primary.startContext, {
      device: 'colo-disk0',
      target,
      sync: 'full',
    });
    pair.p.claim();
    await expect(started).rejects.toThrow(job);
    expect(pair.primary.jobs.query()).toEqual([]);
  });

  test('cannot take the disk off its quorum', async () => {
    const pair = await withTarget();
    const running = await startMirror(pair.primary.startContext, {
      device: 'colo-disk0',
      target: 'tgt',
      sync: 'full',
    });
    for (let n = 0; n < 200 && running.status !== 'ready'; n++) await turns(5);
    // As if a check elsewhere had let it through.
    jest.spyOn(pair.primary.jobs, 'refuse').mockImplementation(() => undefined);
    pair.p.claim();
    expect(() => running.complete()).toThrow(job);
    running.cancel(true);
    await running.ended;
  });
});

test('a drive that stands elsewhere is an error of its disk, and does not start', async () => {
  const pair = await withTarget();
  await toPhase.protected(pair);
  const drive = pair.primary.backend('colo-disk0');
  const quorum = drive.node;
  drive.setRoot(pair.primary.graph.node('tgt'));
  expect(pair.p.error()?.message).toContain('does not stand on its quorum');
  drive.setRoot(quorum);
  expect(pair.p.error()).toBeUndefined();
});

describe('the replica is taken out', () => {
  const takeOut = ({ primary }: Pair) =>
    primary.blockdevChange({ parent: 'colo-disk0', child: 'children.1' });

  test('before the start: it does not start, also when another one stands there', async () => {
    const pair = await withTarget();
    await toPhase.precopy(pair);
    await takeOut(pair);
    await expect(pair.p.start()).rejects.toThrow('no child supports block replication');
    await expect(
      pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node0' }),
    ).rejects.toThrow(inUse);
  });

  test('before a cut, while a write of the guest is under way: error() and cut() say so at once', async () => {
    const pair = await withTarget();
    await toPhase.protected(pair);
    let go: () => void = () => undefined;
    pair.primaryHost.files.delay = () => new Promise(resolve => (go = resolve));
    const write = pair.pvm.pwrite(0, pattern(4096, 9));
    const taken = takeOut(pair);
    await turns(3);
    expect(pair.p.error()?.message).toContain('has been taken out');
    expect(() => pair.p.cut()).toThrow('block replication is not running');
    pair.p.aborted();
    go();
    pair.primaryHost.files.delay = () => Promise.resolve();
    await Promise.all([write, taken]);
  });

  test('after a cut: the epoch fails, and whoever gave up waiting for it hears nothing more', async () => {
    const pair = await withTarget();
    await toPhase.protected(pair);
    pair.secondaryHost.files.delay = () => new Promise(() => undefined);
    await pair.pvm.pwrite(0, pattern(4096, 9));
    const { epochDone } = pair.p.cut();
    await takeOut(pair);
    pair.p.aborted();
    await turns(3); // a rejection without a handler would end the process here
    await expect(epochDone).rejects.toThrow('block replication was stopped');
  });
});

describe('one writer of the export', () => {
  const client = ({ secondaryHost }: Pair) =>
    NbdClient.connect(secondaryHost, {
      address: EXPORT,
      exportName: 'colo-disk0',
      connectTimeoutMs: 1000,
      requestTimeoutMs: 1000,
    });
  const write = (from: NbdClient, at = 0) =>
    from.request(NbdCmd.WRITE, 0, at, 4096, pattern(4096, 66));
  const same = ({ primaryHost, secondaryHost }: Pair) =>
    expectSame(secondaryHost.files.bytes('/s.img'), primaryHost.files.bytes('/p.img'));

  test('while the images are compared no client may write; after a failure any client may again', async () => {
    const pair = await attachedPair();
    const stranger = await client(pair);
    pair.p.claim();
    pair.s.claim();
    await expect(write(stranger)).rejects.toThrow('error 1');
    await pair.s.stop(false);
    await write(stranger);
    pair.s.claim();
    await expect(stranger.request(NbdCmd.TRIM, 0, 0, 4096)).rejects.toThrow('error 1');
    expect((await stranger.request(NbdCmd.READ, 0, 0, 4096)).length).toBe(4096);
  });

  test('a client that comes later reads and does not write; the primary is not disturbed', async () => {
    const pair = await startedPair();
    const stranger = await client(pair);
    for (const type of [NbdCmd.WRITE_ZEROES, NbdCmd.TRIM])
      await expect(stranger.request(type, 0, 0, 4096)).rejects.toThrow('error 1');
    await expect(write(stranger)).rejects.toThrow('error 1');
    await pair.pvm.pwrite(8192, pattern(4096, 3));
    await checkpoint(pair);
    same(pair);
    await pair.s.stop(false);
  });

  test(
    'one that was there before and writes first is told of by the counts, and nothing of the ' +
      'old state is lost',
    async () => {
      const pair = await attachedPair();
      const stranger = await client(pair);
      await pair.s.start();
      await pair.p.start();
      const before = Buffer.from(pair.secondaryHost.files.bytes('/s.img'));
      await write(stranger);
      expect(await pair.p.cut().epochDone).toBe(0);
      await expect(pair.s.seal(0)).rejects.toThrow('0 writes were sent, 1 arrived');
      await pair.s.stop(true);
      expectSame(pair.secondaryHost.files.bytes('/s.img'), before);
    },
  );

  test('from the check of the counts to the commit no client writes, not even the allowed one', async () => {
    const pair = await attachedPair();
    const stranger = await client(pair);
    await pair.s.start();
    await pair.p.start();
    const count = await pair.p.cut().epochDone;
    await pair.s.seal(count);
    await expect(write(stranger, 512 * 1024)).rejects.toThrow('error 1');
    await pair.s.checkpoint();
    pair.p.committed();
    same(pair);
  });

  test('a write that is under way when the counts are compared is waited for', async () => {
    const pair = await attachedPair();
    const stranger = await client(pair);
    await pair.s.start();
    await pair.p.start();
    let go: () => void = () => undefined;
    const held = new Promise<void>(resolve => (go = resolve));
    pair.secondaryHost.files.delay = () => held;
    const written = write(stranger);
    await turns(10);
    const sealed = expect(pair.s.seal(0)).rejects.toThrow('0 writes were sent, 1 arrived');
    await turns(10);
    go();
    await Promise.all([written, sealed]);
  });
});
