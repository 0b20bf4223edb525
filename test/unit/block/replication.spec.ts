/**
 * Goal: the verbs of replication on both sides, one test for each point of the upstream list (read,
 * write, start, stop, checkpoint, error, continuous replication), and one for each rule of a
 * checkpoint that a disk can break. Method: two layers over simulated files and an NBD link in
 * memory.
 */
import { decodeRecord } from '../../../src/block/record/pair-record.js';
import { attachedPair, checkpoint, KiB, MiB, startedPair } from '../../support/block-pair.js';
import { expectSame, pattern, type TestHost, turns } from '../../support/block-host.js';

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
    await expect(pair.p.start('secondary')).rejects.toThrow('can only be the primary');
    await expect(pair.s.start('primary')).rejects.toThrow('replication mode secondary');
    await pair.s.start('secondary');
    await pair.p.start('primary');
    await expect(pair.p.start('primary')).rejects.toThrow('running already');
    await expect(pair.s.start('secondary')).rejects.toThrow('running already');
  });

  test('what is written between attach and start is carried over', async () => {
    const pair = await attachedPair();
    await pair.pvm.pwrite(128 * KiB, a);
    await pair.pvm.writeZeroes(512 * KiB, 64 * KiB);
    await pair.s.start('secondary');
    await pair.p.start('primary');
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
    await expect(pair.p.start('primary')).rejects.toThrow("NBD export 'colo-disk0'");
  });

  test('a drive that is being replicated is not deleted', async () => {
    const pair = await startedPair();
    await expect(pair.primary.driveDel('colo-disk0')).rejects.toThrow(
      "'colo-disk0' is in use by COLO",
    );
    await expect(pair.secondary.driveDel('active-disk0')).rejects.toThrow(
      "'active-disk0' is in use by COLO",
    );
    await pair.p.stop(true);
    await pair.primary.driveDel('colo-disk0');
  });

  test('stop: guest writes go on locally, nothing is forwarded', async () => {
    const pair = await startedPair();
    await checkpoint(pair);
    await pair.p.stop(true);
    await pair.pvm.pwrite(0, a);
    await turns(20);
    expect(pair.s.arrived()).toBe(0);
    expect(pair.p.error()).toBeUndefined();
    await pair.p.stop(true);
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

  test('a dead link ends the epoch within the time-out; nobody waits for ever', async () => {
    const pair = await startedPair();
    pair.primaryHost.sockets.clients[0].silent = true;
    await pair.pvm.pwrite(0, a);
    const { epochDone } = pair.p.cut();
    const failed = expect(epochDone).rejects.toThrow('no answer within 10000 ms');
    await pair.primaryHost.clock.advance(10_001);
    await failed;
  });

  test(
    'what was on its way when the link died counts as different, as what was held ' + 'does',
    async () => {
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
    },
  );

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

describe('secondary', () => {
  test("before start: reads and writes of the guest's disk fail", async () => {
    const { svm } = await attachedPair();
    await expect(svm.pread(0, 512)).rejects.toThrow('has not started');
    await expect(svm.pwrite(0, a)).rejects.toThrow('has not started');
  });

  test('the guest reads the last checkpoint, not what arrived since', async () => {
    const pair = await startedPair();
    const old = Buffer.from(await pair.svm.pread(0, 128 * KiB));
    await pair.pvm.pwrite(60 * KiB, pattern(8 * KiB, 5));
    await pair.p.cut().epochDone;
    expect(pair.s.arrived()).toBe(1);
    expectSame(await pair.svm.pread(0, 128 * KiB), old);
    await pair.s.checkpoint();
    pair.p.committed();
    expectSame(await pair.svm.pread(60 * KiB, 8 * KiB), pattern(8 * KiB, 5));
  });

  test("the guest's writes go to the active disk and are dropped by the checkpoint", async () => {
    const pair = await startedPair();
    await pair.svm.pwrite(512, a);
    expectSame(await pair.svm.pread(512, 4 * KiB), a);
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pattern(MiB));
    await checkpoint(pair);
    expectSame(await pair.svm.pread(512, 4 * KiB), pattern(MiB).subarray(512, 512 + 4 * KiB));
  });

  test('a read and the copy-before-write of its cluster exclude each other', async () => {
    const pair = await startedPair();
    const old = pattern(MiB).subarray(0, 64 * KiB);
    const order: Promise<unknown>[] = [];
    let n = 0;
    pair.secondaryHost.files.delay = () => turns(n++ % 7);
    for (let round = 0; round < 8; round++) {
      order.push(pair.pvm.pwrite(round * 4 * KiB, pattern(8 * KiB, round + 50)));
      order.push(pair.svm.pread(0, 64 * KiB).then(read => expectSame(read, old)));
      await turns(round);
    }
    await Promise.all(order);
  });

  test(
    'stop without failover: the secondary disk goes back to the last checkpoint, ' + 'whole',
    async () => {
      const pair = await startedPair();
      await pair.pvm.pwrite(0, a);
      await checkpoint(pair);
      const committed = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
      await pair.pvm.pwrite(0, b);
      await pair.svm.pwrite(900 * KiB, b);
      await pair.p.cut().epochDone;
      expect(marked(pair)).toBe(true);
      await pair.s.stop(false);
      expectSame(pair.secondaryHost.files.durable('/s.img'), committed);
      expect(marked(pair)).toBe(false);
    },
  );

  test(
    'stopped without failover it may start again; in between nobody writes the ' + 'disk',
    async () => {
      const pair = await startedPair();
      await pair.s.stop(false);
      await expect(pair.svm.pread(0, 512)).rejects.toThrow('has not started');
      await pair.pvm.pwrite(0, b);
      await turns(30);
      expect(pair.p.error()?.message).toContain('error 1');
      expectSame(pair.secondaryHost.files.bytes('/s.img'), pattern(MiB));
      await pair.p.stop(false);
      await pair.primary.blockdevChange({ parent: 'colo-disk0', child: 'children.1' });
      await pair.primary.driveDel('node0');
      await pair.primary.driveAdd(
        'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
          'file.export=colo-disk0,node-name=node1,if=none',
      );
      await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node1' });
      const [p] = pair.primary.replicated('primary');
      const found = await p.sync.compare(await pair.s.sync.digest());
      expect(found.bytes).toBe(MiB);
      found.copy();
      await pair.s.start('secondary');
      await p.start('primary');
      await checkpoint({ ...pair, p });
      expectSame(await pair.svm.pread(0, 4 * KiB), b);
      expect(p).toBe(pair.p);
    },
  );

  test(
    "failover: last checkpoint plus the secondary guest's own writes, durable; later writes as " +
      'durable as asked',
    async () => {
      const pair = await startedPair();
      await pair.pvm.pwrite(0, a);
      await checkpoint(pair);
      const expected = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
      await pair.pvm.pwrite(0, b);
      await pair.p.cut().epochDone;
      await pair.svm.pwrite(300 * KiB, b);
      expected.set(b, 300 * KiB);
      await pair.s.stop(true);
      expectSame(pair.secondaryHost.files.durable('/s.img'), expected);
      await pair.svm.pwrite(700 * KiB, a, { fua: true });
      expect(pair.secondaryHost.files.durable('/s.img').subarray(700 * KiB, 704 * KiB)).toEqual(a);
      await pair.svm.pwrite(600 * KiB, a);
      expect(pair.secondaryHost.files.durable('/s.img').subarray(600 * KiB, 604 * KiB)).not.toEqual(
        a,
      );
      await pair.svm.flush();
      expect(pair.secondaryHost.files.durable('/s.img').subarray(600 * KiB, 604 * KiB)).toEqual(a);
      await pair.s.stop(true);
    },
  );

  test(
    "failover drops the export's clients, also with writes under way, and lets nobody else " +
      'write',
    async () => {
      const pair = await startedPair();
      await checkpoint(pair);
      const expected = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
      pair.secondaryHost.files.delay = () => turns(3);
      await Promise.all([0, 1, 2, 3, 4].map(n => pair.pvm.pwrite(n * 100 * KiB, a)));
      await pair.s.stop(true);
      expectSame(pair.secondaryHost.files.durable('/s.img'), expected);
      expect(pair.secondary.nbd.describe()).toEqual([]);
      await expect(pair.secondary.backend('colo-disk0').pwrite(0, b)).rejects.toThrow(
        'has been taken over',
      );
      await turns(20);
      expect(pair.p.error()).toBeDefined();
    },
  );

  test('failover works also when the NBD server was stopped first', async () => {
    const pair = await startedPair();
    await pair.pvm.pwrite(0, a);
    await checkpoint(pair);
    await pair.secondary.nbd.stop();
    await pair.s.stop(true);
    expectSame(await pair.svm.pread(0, 4 * KiB), a);
  });

  test('a merge that fails keeps the overlays and the mark, and can be tried again', async () => {
    const pair = await startedPair();
    await checkpoint(pair);
    const expected = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
    await pair.pvm.pwrite(0, b);
    await pair.p.cut().epochDone;
    pair.secondaryHost.files.fault = operation => {
      if (operation === 'pwrite') throw new Error('no luck');
    };
    await expect(pair.s.stop(true)).rejects.toThrow('merging into the secondary disk');
    await expect(pair.svm.pwrite(0, a)).rejects.toThrow('merging');
    expect(marked(pair)).toBe(true);
    pair.secondaryHost.files.fault = () => undefined;
    await pair.s.stop(true);
    expectSame(pair.secondaryHost.files.durable('/s.img'), expected);
  });

  test('a guest write during the merge waits for it and then goes to the disk', async () => {
    const pair = await startedPair();
    await pair.pvm.pwrite(0, b);
    await pair.p.cut().epochDone;
    pair.secondaryHost.files.delay = () => turns(2);
    const stopped = pair.s.stop(true);
    const written = pair.svm.pwrite(64 * KiB, a);
    await stopped;
    await written;
    expectSame(pair.secondaryHost.files.bytes('/s.img').subarray(64 * KiB, 68 * KiB), a);
  });

  test(
    'continuous: what arrives after a checkpoint is undone to that checkpoint, not to an older ' +
      'one',
    async () => {
      const pair = await startedPair();
      for (let epoch = 0; epoch < 4; epoch++) {
        await pair.pvm.pwrite(0, pattern(4 * KiB, 60 + epoch));
        await pair.pvm.discard(epoch * 128 * KiB, 128 * KiB);
        await checkpoint(pair);
        expect(pair.s.arrived()).toBe(0);
      }
      const expected = Buffer.from(pair.primaryHost.files.bytes('/p.img'));
      await pair.pvm.writeZeroes(0, MiB);
      await pair.p.cut().epochDone;
      await pair.s.stop(true);
      expectSame(pair.secondaryHost.files.bytes('/s.img'), expected);
    },
  );

  test('checkpoint: only while running; a stored error is not forgotten by it', async () => {
    const pair = await attachedPair();
    await expect(pair.s.checkpoint()).rejects.toThrow('not running');
    await pair.s.start('secondary');
    await pair.p.start('primary');
    pair.secondaryHost.files.fault = operation => {
      if (operation === 'pwrite') throw new Error('bad disk');
    };
    await pair.pvm.pwrite(0, a);
    await turns(30);
    await pair.s.checkpoint();
    expect(pair.s.error()?.message).toContain('bad disk');
  });

  test(
    'overlays are bounded: the hidden one refuses the forwarded write, the active one the ' +
      "guest's; both end the epoch",
    async () => {
      const drive =
        'if=virtio,id=active-disk0,driver=replication,mode=secondary,file.driver=memory,' +
        'file.max-bytes=4K,file.backing=colo-disk0';
      const pair = await startedPair({ secondaryDrive: drive });
      await expect(pair.svm.pwrite(0, pattern(8 * KiB))).rejects.toThrow(
        'would pass its bound of 4096 bytes',
      );
      expect(pair.s.error()?.message).toContain('active disk');
      const other = await startedPair({ secondaryDrive: drive });
      await other.pvm.pwrite(0, a);
      await other.pvm.pwrite(64 * KiB, a);
      await turns(40);
      expect(other.s.error()?.message).toContain('hidden disk');
      expect(other.p.error()?.message).toContain('error 28');
      await other.s.stop(true);
      expectSame(other.secondaryHost.files.bytes('/s.img'), pattern(MiB));
    },
  );

  test(
    'the mark is durable before the first forwarded write, and gone after the ' + 'merge',
    async () => {
      const pair = await startedPair();
      expect(marked(pair)).toBe(true);
      await pair.pvm.pwrite(0, a);
      await checkpoint(pair);
      const { log } = pair.secondaryHost.files;
      expect(log.indexOf('write-label /s.img 0 0')).toBeGreaterThanOrEqual(0);
      expect(log.indexOf('write-label /s.img 0 0')).toBeLessThan(
        log.findIndex(line => line.startsWith('pwrite /s.img 0')),
      );
      await pair.s.stop(true);
      expect(log.lastIndexOf('write-label /s.img 0 0')).toBeGreaterThan(
        log.lastIndexOf('fdatasync /s.img 0 0'),
      );
    },
  );

  test('closing while running leaves the last checkpoint', async () => {
    const pair = await startedPair();
    await checkpoint(pair);
    await pair.pvm.pwrite(0, b);
    await pair.p.cut().epochDone;
    await pair.secondary.close();
    expectSame(pair.secondaryHost.files.durable('/s.img'), pattern(MiB));
    expect(marked(pair)).toBe(false);
  });
});

/** The image says that it holds part of an epoch. */
function marked({ secondaryHost }: { secondaryHost: TestHost }): boolean {
  const label = secondaryHost.files.inodes.get('/s.img')!.label;
  return label !== undefined && decodeRecord(label).partial;
}

/** The secondary's files stand still until the returned function is called. */
function hold(host: { files: { delay: () => Promise<void> } }): () => void {
  let open!: () => void;
  const gate = new Promise<void>(resolve => (open = resolve));
  host.files.delay = () => gate;
  return () => {
    host.files.delay = () => Promise.resolve();
    open();
  };
}

test('a replica that has ended leaves its name and its place to the next; one that runs does not', async () => {
  const pair = await startedPair();
  await expect(pair.primary.driveAdd(replica)).rejects.toThrow(
    "node name 'node0' is in use already",
  );
  await pair.p.stop(true);
  await pair.s.stop(false);
  await pair.primary.driveAdd(replica);
  await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node0' });
  const [p] = pair.primary.replicated('primary');
  await pair.s.start('secondary');
  await p.start('primary');
  await p.stop(true);
  await pair.primary.driveAdd(replica.replace('node-name=node0', 'node-name=node1'));
  await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node1' });
  expect(() => pair.primary.replicated('primary')).not.toThrow();
  expect(pair.primary.graph.node('node0').inUse).toBe(false);
});
