/**
 * Goal: the verbs of replication on the primary, one test for each point of the upstream list
 * (read, write, start, stop, checkpoint, error, continuous replication), and one for each rule of a
 * checkpoint that a disk can break. Method: two layers over simulated files and an NBD link in
 * memory.
 */
import {
  attachedPair,
  checkpoint,
  KiB,
  MiB,
  startedPair,
  hold,
} from '../../../../support/block-pair.js';
import { expectSame, pattern, turns } from '../../../../support/block-host.js';

const replica =
  'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
  'file.export=colo-disk0,node-name=node0,if=none';
const a = pattern(4 * KiB, 100);
const b = pattern(4 * KiB, 101);

describe('primary', () => {
  test('reads come from the local disk, never from the replica', async () => {
    const { pvm, primary, p } = await startedPair();
    expectSame(await pvm.pread(0, 512), pattern(MiB).subarray(0, 512));
    await expect(primary.graph.node('node0').pread(0, 512)).rejects.toThrow('is not read');
    expect(p.error()).toBeUndefined();
  });

  test('a write reaches both disks, and the guest has its buffer back at once', async () => {
    const pair = await startedPair();
    const [first, held] = [Buffer.from(a), Buffer.from(b)];
    const release = hold(pair.secondaryHost);
    await pair.pvm.pwrite(64 * KiB, first);
    const { epochDone } = pair.p.cut();
    await pair.pvm.pwrite(128 * KiB, held);
    first.fill(0xee); // rule 5: neither the forwarded copy nor the held one may see this
    held.fill(0xee);
    release();
    await epochDone;
    await pair.s.checkpoint();
    pair.p.committed();
    await checkpoint(pair);
    for (const disk of [
      pair.primaryHost.files.bytes('/p.img'),
      pair.secondaryHost.files.bytes('/s.img'),
    ]) {
      expectSame(disk.subarray(64 * KiB, 68 * KiB), a);
      expectSame(disk.subarray(128 * KiB, 132 * KiB), b);
    }
  });

  test('start: once, in its own mode, as a child of a quorum', async () => {
    const pair = await attachedPair();
    await pair.s.start();
    await pair.p.start();
    await expect(pair.p.start()).rejects.toThrow('running already');
    await expect(pair.s.start()).rejects.toThrow('running already');
  });

  test('what is written between attach and start is carried over', async () => {
    const pair = await attachedPair();
    await pair.pvm.pwrite(128 * KiB, a);
    await pair.pvm.writeZeroes(512 * KiB, 64 * KiB);
    await pair.s.start();
    await pair.p.start();
    await checkpoint(pair);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
  });

  test('a link that dies while the disk is idle is an error at once', async () => {
    const pair = await startedPair();
    await checkpoint(pair);
    await pair.secondary.nbd.stop();
    await turns(20);
    expect(pair.p.error()?.message).toContain("NBD export 'colo-disk0'");
  });

  test('a link that dies lets go of the writes that wait for the next epoch', async () => {
    const pair = await startedPair({ replica: `${replica},x-max-requests=1` });
    await pair.p.cut().epochDone;
    await pair.pvm.pwrite(0, a);
    const blocked = pair.pvm.pwrite(64 * KiB, b);
    expect(await Promise.race([blocked, turns(20).then(() => 'waits')])).toBe('waits');
    await pair.secondary.nbd.stop();
    await blocked;
    expectSame(await pair.pvm.pread(64 * KiB, 4 * KiB), b);
  });

  test(
    'what was lost with the link is noted: in flight, in the queue, held for the next epoch, ' +
      'and later',
    async () => {
      const pair = await startedPair();
      const lost = () => pair.primary.graph.node('node0').driver.describe()['dirty-clusters'];
      await checkpoint(pair);
      expect(lost()).toBe(0);
      pair.secondaryHost.files.delay = () => new Promise(() => undefined);
      await pair.pvm.pwrite(0, a);
      await pair.pvm.pwrite(4 * KiB, a); // the same cluster of 64 KiB
      await pair.pvm.writeZeroes(128 * KiB, 64 * KiB);
      pair.p.cut().epochDone.catch(() => undefined);
      await pair.pvm.pwrite(512 * KiB, b);
      void pair.secondary.nbd.stop();
      await turns(20);
      expect(pair.p.error()).toBeDefined();
      expect(lost()).toBe(3);
      await pair.pvm.pwrite(768 * KiB, b);
      expect(lost()).toBe(4);
    },
  );

  test('a replica that is gone already protects nothing: start refuses', async () => {
    const pair = await attachedPair();
    await pair.secondary.nbd.stop();
    await turns(20);
    await expect(pair.p.start()).rejects.toThrow("NBD export 'colo-disk0'");
  });

  test('a drive that is being replicated is not deleted', async () => {
    const pair = await startedPair();
    await expect(pair.primary.driveDel('colo-disk0')).rejects.toThrow(
      "'colo-disk0' is in use by COLO",
    );
    await expect(pair.secondary.driveDel('active-disk0')).rejects.toThrow(
      "'active-disk0' is in use by COLO",
    );
    await pair.p.stop();
    await pair.primary.driveDel('colo-disk0');
  });

  test('stop: guest writes go on locally, nothing is forwarded', async () => {
    const pair = await startedPair();
    await checkpoint(pair);
    await pair.p.stop();
    await pair.pvm.pwrite(0, a);
    await turns(20);
    expect(pair.s.arrived()).toBe(0);
    expect(pair.p.error()).toBeUndefined();
    await pair.p.stop();
    expect(() => pair.p.cut()).toThrow('not running');
  });

  test("the replica's error is stored, ends the epoch and never reaches the guest", async () => {
    const pair = await startedPair();
    pair.secondaryHost.files.fault = operation => {
      if (operation === 'pwrite') throw Object.assign(new Error('disk full'), { code: 'ENOSPC' });
    };
    await pair.pvm.pwrite(0, a);
    await expect(pair.p.cut().epochDone).rejects.toThrow(
      /forwarding 4096 bytes at 0 to the replica.*error 28/,
    );
    expect(pair.p.error()).toBeDefined();
    await pair.pvm.pwrite(8 * KiB, b);
    expectSame(await pair.pvm.pread(8 * KiB, 4 * KiB), b);
  });

  test('a dead link ends the epoch and every wait within the time-out', async () => {
    const pair = await startedPair();
    pair.primaryHost.sockets.clients[0].silent = true;
    await pair.pvm.pwrite(0, a);
    const { epochDone } = pair.p.cut();
    const failed = expect(epochDone).rejects.toThrow('no answer within 10000 ms');
    await pair.primaryHost.clock.advance(10_001);
    await failed;
  });

  test('what was on its way when the link died counts as different, as what was held does', async () => {
    const pair = await startedPair();
    pair.primaryHost.sockets.clients[0].silent = true;
    await pair.pvm.pwrite(0, a);
    pair.p.cut().epochDone.catch(() => undefined);
    await pair.pvm.pwrite(5 * 64 * KiB, b);
    const clusters = () => {
      const node = pair.primary.queryNamedBlockNodes().find(n => n['node-name'] === 'node0')!;
      return JSON.stringify(node).match(/"dirty-clusters":(\d+)/)?.[1];
    };
    expect(clusters()).toBe('0');
    await pair.primaryHost.clock.advance(10_001);
    expect(pair.p.error()).toBeDefined();
    expect(clusters()).toBe('2');
  });

  test(
    "the local error is the guest's, whatever the replica says; the replica gets what can be " +
      'read back',
    async () => {
      const pair = await startedPair();
      pair.primaryHost.files.fault = operation => {
        if (operation === 'pwrite') throw Object.assign(new Error('bad sector'), { code: 'EIO' });
      };
      const bad: unknown[] = [];
      pair.events.on('QUORUM_REPORT_BAD', event => bad.push(event));
      await expect(pair.pvm.pwrite(0, a)).rejects.toThrow('bad sector');
      expect(bad).toMatchObject([{ type: 'write', 'sector-num': 0, 'sectors-count': 8 }]);
      await checkpoint(pair);
      expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
    },
  );

  test('writes after the cut are held until committed, and until aborted', async () => {
    const pair = await startedPair();
    for (const end of ['committed', 'aborted'] as const) {
      await pair.pvm.pwrite(0, a);
      await pair.p.cut().epochDone;
      const before = pair.s.arrived();
      await pair.pvm.pwrite(4 * KiB, b);
      await turns(30);
      expect(pair.s.arrived()).toBe(before);
      if (end === 'committed') await pair.s.checkpoint();
      pair.p[end]();
      await turns(30);
      expect(pair.s.arrived()).toBe(end === 'committed' ? 1 : before + 1);
    }
    await checkpoint(pair);
  });

  test(
    "at the bound the guest's completions wait, and go on when the replica " + 'answers',
    async () => {
      const replica =
        'driver=replication,mode=primary,x-max-bytes=8K,file.driver=nbd,file.host=10.0.0.2,' +
        'file.port=8889,file.export=colo-disk0,node-name=node0,if=none';
      const pair = await startedPair({ replica });
      const release = hold(pair.secondaryHost);
      let completed = 0;
      const writes = [0, 1, 2, 3].map(n =>
        pair.pvm.pwrite(n * 64 * KiB, a).then(() => completed++),
      );
      await turns(40);
      expect(completed).toBe(2);
      release();
      await Promise.all(writes);
      await checkpoint(pair);
    },
  );

  test('at the bound a failed link lets the guest go on', async () => {
    const replica =
      'driver=replication,mode=primary,x-max-requests=1,file.driver=nbd,file.host=10.0.0.2,' +
      'file.port=8889,file.export=colo-disk0,node-name=node0,if=none';
    const pair = await startedPair({ replica });
    pair.primaryHost.sockets.clients[0].silent = true;
    const writes = [0, 1, 2].map(n => pair.pvm.pwrite(n * 64 * KiB, a));
    await turns(10);
    await pair.primaryHost.clock.advance(10_001);
    await Promise.all(writes);
    expect(pair.p.error()).toBeDefined();
  });

  test('overlapping guest writes end alike on both disks', async () => {
    const pair = await startedPair();
    await Promise.all(
      Array.from({ length: 20 }, (_, n) => pair.pvm.pwrite((n % 5) * 2 * KiB, pattern(8 * KiB, n))),
    );
    await checkpoint(pair);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
  });
});

test('a replica that has ended leaves its name and its place to the next; one that runs does not', async () => {
  const pair = await startedPair();
  await expect(pair.primary.driveAdd(replica)).rejects.toThrow(
    "node name 'node0' is in use already",
  );
  await pair.p.stop();
  await pair.s.stop(false);
  await pair.primary.driveAdd(replica);
  await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node0' });
  const [p] = pair.primary.primaryDisks();
  await pair.s.start();
  await p.start();
  await p.stop();
  await pair.primary.driveAdd(replica.replace('node-name=node0', 'node-name=node1'));
  await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node1' });
  expect(() => pair.primary.primaryDisks()).not.toThrow();
  expect(pair.primary.graph.node('node0').inUse).toBe(false);
});
