/**
 * Goal: a disk over NBD outlives the loss of its server when it is asked to, loses no acknowledged
 * write, and fails within its bound when the server stays away. Method: two block layers over
 * streams in memory; the server's files forget what was not durable.
 */
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { NbdClient } from '../../../../src/block/nbd/client.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost, turns } from '../../../support/block-host.js';

const address = { kind: 'unix', path: '/nbd' } as const;

async function setUp(options = 'file.reconnect-delay=5') {
  const host = testHost();
  host.files.put('/a.img', Buffer.alloc(65536));
  const serve = async () => {
    const layer = new BlockLayer(host);
    await layer.addDrive(parseDrive('file=/a.img,format=raw,id=d0,if=none'));
    await layer.nbd.start(address);
    layer.nbdServerAdd({ device: 'd0', writable: true });
    return layer;
  };
  let server = await serve();
  const client = new BlockLayer(host);
  const open = async () =>
    await client.addDrive(
      parseDrive(`file=nbd+unix:///d0?socket=/nbd,format=raw,id=c,if=none,${options}`),
    );
  return {
    host,
    client,
    open,
    /** The server's host loses its memory. */
    async crash() {
      await server.close();
      host.files.put('/a.img', host.files.durable('/a.img'));
      await turns(5);
    },
    async restart() {
      server = await serve();
    },
  };
}

test('what was acknowledged and not flushed is there again after the server lost it', async () => {
  const { host, open, crash, restart } = await setUp();
  const disk = await open();
  await disk.pwrite(0, pattern(512, 1));
  await disk.flush();
  await disk.pwrite(512, pattern(512, 2));
  await disk.pwrite(1024, pattern(512, 3));
  await disk.pwrite(1024, pattern(512, 4));
  await disk.writeZeroes(0, 256);
  await crash();
  expect(host.files.bytes('/a.img')[512]).toBe(0);
  await restart();
  await host.clock.advance(1000);
  await turns(20);
  const expected = Buffer.concat([
    Buffer.alloc(256),
    pattern(512, 1).subarray(256),
    pattern(512, 2),
    pattern(512, 4),
  ]);
  expectSame(await disk.pread(0, 1536), expected);
  await disk.flush();
  expectSame(host.files.durable('/a.img').subarray(0, 1536), expected);
});

test('requests wait for the server, in flight or new, and are all answered when it is back', async () => {
  const { host, open, crash, restart } = await setUp();
  const disk = await open();
  host.files.delay = () => new Promise(() => undefined);
  const inFlight = Array.from({ length: 20 }, (_, n) => disk.pwrite(n * 512, pattern(512, n)));
  await turns(5);
  host.files.delay = () => Promise.resolve();
  void crash();
  await turns(10);
  host.files.put('/a.img', host.files.durable('/a.img'));
  const later = [disk.pread(0, 512), disk.flush()];
  await restart();
  await host.clock.advance(1000);
  await turns(50);
  await Promise.all([...inFlight, ...later]);
  for (let n = 0; n < 20; n++) expectSame(await disk.pread(n * 512, 512), pattern(512, n));
});

test(
  'a server that stays away: requests fail when the delay is over, later ones at once; and it ' +
    'is taken back',
  async () => {
    const { host, open, crash, restart } = await setUp();
    const disk = await open();
    await disk.pwrite(0, pattern(512, 1));
    await crash();
    const waiting = expect(disk.pread(0, 512)).rejects.toThrow('the server closed the connection');
    await host.clock.advance(4000);
    await host.clock.advance(1100);
    await waiting;
    await expect(disk.pread(0, 512)).rejects.toThrow('the server closed the connection');
    await restart();
    await host.clock.advance(3000);
    await turns(20);
    expectSame(await disk.pread(0, 512), pattern(512, 1));
  },
);

test('without reconnect-delay the first loss is the end', async () => {
  const { host, open, crash, restart } = await setUp('file.reconnect-delay=0');
  const disk = await open();
  await crash();
  await restart();
  await host.clock.advance(10_000);
  await turns(10);
  await expect(disk.pread(0, 512)).rejects.toThrow('the server closed the connection');
});

test('another export under the same name is not taken', async () => {
  const { host, open, crash, restart } = await setUp();
  const disk = await open();
  await crash();
  host.files.put('/a.img', Buffer.alloc(4096));
  const waiting = expect(disk.pread(0, 512)).rejects.toThrow();
  await restart();
  await host.clock.advance(5100);
  await turns(10);
  await waiting;
  expectSame(host.files.bytes('/a.img'), Buffer.alloc(4096));
});

test('copies of unflushed writes are bounded: a flush makes room', async () => {
  const { host, open } = await setUp();
  const disk = await open();
  for (let n = 0; n < 1100; n++) await disk.pwrite((n % 128) * 512, pattern(512, n));
  expect(host.files.log.filter(line => line.startsWith('fdatasync')).length).toBeGreaterThanOrEqual(
    1,
  );
});

test(
  'a server that is lost just when copies are at their bound: the request waits like any ' +
    'other',
  async () => {
    const { host, open, crash, restart } = await setUp();
    const disk = await open();
    for (let n = 0; n < 1024; n++) await disk.pwrite((n % 128) * 512, pattern(512, n));
    host.files.delay = () =>
      host.files.log.at(-1)!.startsWith('fdatasync')
        ? new Promise(() => undefined)
        : Promise.resolve();
    const write = disk.pwrite(0, pattern(512, 77));
    await turns(10);
    host.files.delay = () => Promise.resolve();
    void crash();
    await turns(10);
    host.files.put('/a.img', host.files.durable('/a.img'));
    await restart();
    await host.clock.advance(1000);
    await turns(3000);
    await write;
    expectSame(await disk.pread(0, 1024), Buffer.concat([pattern(512, 77), pattern(512, 897)]));
  },
);

test('at the start, open-timeout waits for a server that is not there yet', async () => {
  const { host, open, crash, restart } = await setUp('file.open-timeout=5');
  await crash();
  const opening = open();
  await turns(5);
  await restart();
  await host.clock.advance(1000);
  expect((await opening).length).toBe(65536);
});

test('a replica that would reconnect is refused: rule 3 could not be kept', async () => {
  const { client } = await setUp();
  await expect(
    client.driveAdd(
      'driver=replication,mode=primary,file.driver=nbd,file.path=/nbd,file.export=d0,' +
        'file.reconnect-delay=5,node-name=n,if=none',
      { noBackend: true },
    ),
  ).rejects.toThrow("reconnect-delay of node '#block1' must be 0");
});

test('closing ends everything that waits, and no timer is left', async () => {
  const { host, client, open, crash } = await setUp();
  const disk = await open();
  await crash();
  const waiting = expect(disk.pread(0, 512)).rejects.toThrow('closed');
  await turns(2);
  await client.graph
    .all()
    .find(node => node.driver.format === 'nbd')!
    .close();
  await waiting;
  await turns(5);
  expect(host.clock.armed).toBe(0);
});

test(
  'a client that stops in the middle of a request, or takes no answers, is dropped within two ' +
    'minutes; one that is idle is not',
  async () => {
    const { host } = await setUp();
    const idle = await NbdClient.connect(host, {
      address,
      exportName: 'd0',
      connectTimeoutMs: 1000,
      requestTimeoutMs: 1000,
    });
    const half = await NbdClient.connect(host, {
      address,
      exportName: 'd0',
      connectTimeoutMs: 1000,
      requestTimeoutMs: 1e9,
    });
    void host.sockets.clients[1].write(Buffer.from([0x25, 0x60, 0x95, 0x13, 0]));
    await turns(5);
    await host.clock.advance(121_000);
    await turns(5);
    expect(idle.error).toBeUndefined();
    expect(half.error?.message).toContain('the server closed the connection');
  },
);
