/**
 * Goal: a slow link makes epochs longer and nothing else: a guest that stops waits for its own disk
 * alone, and slowness ends nothing. Method: a pair of block layers over a link that takes so many
 * bytes in a millisecond of a clock that the test moves.
 */
import {
  ForwardQueue,
  type ForwardLimits,
} from '../../../../../src/block/drivers/replication/forward-queue.js';
import { BlockNode } from '../../../../../src/block/contract/node.js';
import type { BlockDriver } from '../../../../../src/block/contract/driver.js';
import {
  attachedPair,
  checkpoint,
  MiB,
  type Pair,
  startedPair,
} from '../../../../support/block-pair.js';
import { expectSame, pattern, turns } from '../../../../support/block-host.js';

const replica =
  'driver=replication,mode=primary,file.driver=nbd,file.host=10.0.0.2,file.port=8889,' +
  'file.export=colo-disk0,node-name=node0,if=none,x-max-bytes=4M';
const image = Buffer.alloc(16 * MiB);

/** The clock goes on until it has happened; gives the milliseconds. */
async function elapse<T>(
  pair: Pair,
  wanted: Promise<T>,
  mostMs: number,
  stepMs = 5,
): Promise<number> {
  let over = false;
  const done = wanted.finally(() => (over = true));
  done.catch(() => undefined);
  await turns(60);
  const { clock } = pair.primaryHost;
  const start = clock.nowMs();
  while (!over && clock.nowMs() - start < mostMs) {
    await clock.advance(stepMs);
    await turns(4);
  }
  return over ? done.then(() => clock.nowMs() - start) : mostMs;
}

async function slowPair(bytesPerMs: number): Promise<Pair> {
  const pair = await startedPair({ image, replica });
  const [client] = pair.primaryHost.sockets.clients;
  client.slow = { clock: pair.primaryHost.clock, bytesPerMs };
  return pair;
}

const load = ({ pvm }: Pair, writes: number) =>
  Array.from({ length: writes }, (_, n) => pvm.pwrite(n * MiB, pattern(MiB, n + 1)));

describe('3 MB/s and full write queues', () => {
  test('the guest stands still for its own disk, not for the wire', async () => {
    const pair = await slowPair(3000);
    const writes = load(pair, 12);
    await turns(60);
    let done = 0;
    for (const write of writes) void write.then(() => done++);
    await turns(60);
    expect(done).toBeLessThanOrEqual(4); // the bound holds while the guest runs

    const pausedMs = await elapse(pair, pair.pvm.drain(), 20_000);
    expect(pausedMs).toBeLessThan(50);
    expect(done).toBe(12);
  });

  test('what was admitted is in its epoch, whole, and the next one has its bound again', async () => {
    const pair = await slowPair(3000);
    void load(pair, 12);
    await elapse(pair, pair.pvm.drain(), 20_000);
    const { epochDone } = pair.p.cut();
    const held = pair.pvm.pwrite(15 * MiB, pattern(MiB, 77));
    await turns(60);
    expect(await Promise.race([held.then(() => 'done'), turns(5).then(() => 'waits')])).toBe(
      'waits',
    );

    expect(await elapse(pair, epochDone, 20_000)).toBeGreaterThan(3000);
    expect(pair.s.arrived()).toBe(await epochDone);
    await pair.s.checkpoint();
    pair.p.committed();
    await elapse(pair, checkpoint(pair), 20_000);
    await held;
    expectSame(pair.secondaryHost.files.bytes('/s.img'), pair.primaryHost.files.bytes('/p.img'));
  });

  test('a carry-over keeps to the bound also while a guest is stopped', async () => {
    const pair = await attachedPair({ image, replica });
    for (const write of load(pair, 16)) await write;
    const [client] = pair.primaryHost.sockets.clients;
    client.slow = { clock: pair.primaryHost.clock, bytesPerMs: 3000 };
    await pair.s.start();
    const started = pair.p.start();
    started.catch(() => undefined);
    const end = pair.primary.graph.node(pair.pvm.nodeName).drainBegin();
    await turns(200);
    const { 'pending-bytes': pending } = pair.primary.graph.node('node0').driver.describe();
    expect(pending).toBeLessThanOrEqual(5 * MiB);
    end();
    await elapse(pair, started, 20_000);
    await started;
  });
});

describe('time-outs count from when nothing moves', () => {
  test('a queue that takes longer than the time-out ends nothing', async () => {
    const pair = await slowPair(300);
    void load(pair, 8);
    await elapse(pair, pair.pvm.drain(), 60_000);
    const { epochDone } = pair.p.cut();
    expect(await elapse(pair, epochDone, 60_000, 50)).toBeGreaterThan(20_000);
    expect(pair.p.error()).toBeUndefined();
    expect(await epochDone).toBe(8);
  });

  test('a replica whose disk answers now and then is not given up', async () => {
    const pair = await startedPair({ image, replica });
    const { clock } = pair.primaryHost;
    let chain = Promise.resolve();
    pair.secondaryHost.files.delay = () =>
      (chain = chain.then(() => new Promise<void>(resolve => void clock.timer(1000, resolve))));
    for (let n = 0; n < 8; n++) await pair.pvm.pwrite(n * MiB, pattern(4096, n));
    const { epochDone } = pair.p.cut();
    expect(await elapse(pair, epochDone, 60_000, 100)).toBeGreaterThan(10_000);
    expect(pair.p.error()).toBeUndefined();
  });

  test('bytes that a dead peer does not answer prove nothing', async () => {
    const pair = await startedPair({ image, replica });
    const [client] = pair.primaryHost.sockets.clients;
    client.silent = true;
    for (let n = 0; n < 20; n++) {
      await pair.pvm.pwrite(n * 65536, pattern(4096, n));
      await pair.primaryHost.clock.advance(1000);
      await turns(4);
    }
    expect(pair.p.error()?.message).toContain('no answer within 10000 ms');
  });

  test('a link on which nothing moves is given up in time', async () => {
    const pair = await slowPair(300);
    void load(pair, 8);
    await elapse(pair, pair.pvm.drain(), 60_000);
    const [client] = pair.primaryHost.sockets.clients;
    client.silent = true;
    client.slow = { clock: pair.primaryHost.clock, bytesPerMs: 0 };
    const { epochDone } = pair.p.cut();
    await expect(elapse(pair, epochDone, 60_000, 50)).rejects.toThrow('no answer within 10000 ms');
    expect(pair.primaryHost.clock.nowMs()).toBeLessThan(45_000);
  });
});

describe('bounds of the queue', () => {
  const limits: ForwardLimits = {
    requests: 4,
    bytes: 4096,
    inFlight: 2,
    stopping: { requests: 2, bytes: 2048 },
  };

  function stuck(): ForwardQueue {
    const driver = {
      format: 'stuck',
      length: MiB,
      readOnly: false,
      pwrite: () => new Promise<void>(() => undefined),
    };
    const node = new BlockNode('stuck', driver as unknown as BlockDriver);
    return new ForwardQueue(node, limits, () => undefined);
  }

  const push = (queue: ForwardQueue, count: number) => {
    for (let n = 0; n < count; n++) void queue.push(n * 4096, 1024, Buffer.alloc(1024));
  };

  test('a guest that stops adds what its device may have under way, and no more', async () => {
    const queue = stuck();
    push(queue, 20);
    await turns(2);
    expect(queue.pendingRequests).toBe(4);
    const end = queue.drainBegin();
    await turns(2);
    expect(queue.pendingRequests).toBe(6);
    push(queue, 3);
    await turns(2);
    expect(queue.pendingRequests).toBe(6);
    end();
    end();
    const again = queue.drainBegin();
    await turns(2);
    expect(queue.pendingRequests).toBe(6);
    again();
  });
});
