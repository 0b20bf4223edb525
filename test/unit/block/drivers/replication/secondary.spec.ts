/**
 * Goal: the verbs of replication on the secondary, one test for each point of the upstream list
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
  marked,
} from '../../../../support/block-pair.js';
import { expectSame, pattern, turns } from '../../../../support/block-host.js';

const a = pattern(4 * KiB, 100);
const b = pattern(4 * KiB, 101);

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

  test('stop without failover: the secondary disk goes back to the last checkpoint, whole', async () => {
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
  });

  test('stopped without failover it may start again; in between no client writes the disk', async () => {
    const pair = await startedPair();
    await pair.s.stop(false);
    await expect(pair.svm.pread(0, 512)).rejects.toThrow('has not started');
    await pair.pvm.pwrite(0, b);
    await turns(30);
    expect(pair.p.error()?.message).toContain('error 1');
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pattern(MiB));
    await pair.p.stop();
    await pair.primary.blockdevChange({ parent: 'colo-disk0', child: 'children.1' });
    await pair.primary.driveDel('node0');
    await pair.primary.driveAdd(
      'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
        'file.export=colo-disk0,node-name=node1,if=none',
    );
    await pair.primary.blockdevChange({ parent: 'colo-disk0', node: 'node1' });
    const [p] = pair.primary.primaryDisks();
    const found = await p.sync.compare(await pair.s.sync.digest());
    expect(found.bytes).toBe(MiB);
    found.copy();
    await pair.s.start();
    await p.start();
    await checkpoint({ ...pair, p });
    expectSame(await pair.svm.pread(0, 4 * KiB), b);
    expect(p).toBe(pair.p);
  });

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
    await pair.s.start();
    await pair.p.start();
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

  test('the mark is durable before the first forwarded write, and gone after the merge', async () => {
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
  });

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
