/**
 * Goal: our NBD server and client over a link, including what a hostile peer does. Method: streams
 * in memory; raw bytes where our own client would be too polite.
 */
import { defaultCreateOptions } from '../../../../src/block/drivers/qcow2/create.js';
import { createImage } from '../../../../src/block/image/open.js';
import { BlockLayer } from '../../../../src/block/layer/layer.js';
import { NbdClient } from '../../../../src/block/nbd/client.js';
import * as nbd from '../../../../src/block/nbd/codec.js';
import { NbdServer } from '../../../../src/block/nbd/server.js';
import { defaultServerLimits } from '../../../../src/block/nbd/server-protocol.js';
import { parseDrive } from '../../../../src/block/options/options.js';
import { expectSame, pattern, testHost, turns } from '../../../support/block-host.js';

const address = { kind: 'unix', path: '/nbd' } as const;
const options = { address, exportName: 'd0', connectTimeoutMs: 1000, requestTimeoutMs: 1000 };

async function setUp(
  writable = true,
  drive = 'file=/a.img,format=raw,id=d0,if=none',
  host = testHost(),
) {
  host.files.put('/a.img', pattern(65536));
  const layer = new BlockLayer(host);
  await layer.addDrive(parseDrive(drive));
  await layer.nbd.start(address);
  layer.nbdServerAdd({ device: 'd0', writable });
  return {
    host,
    layer,
    connect: (exportName = 'd0') => NbdClient.connect(host, { ...options, exportName }),
  };
}

test('read, write, zeroes, trim, flush, FUA', async () => {
  const { host, connect } = await setUp();
  const client = await connect();
  expect(client.info).toMatchObject({ size: 65536, maxTransfer: 32 * 1024 * 1024 });
  expectSame(
    await client.request(nbd.NbdCmd.READ, 0, 1024, 2048),
    pattern(65536).subarray(1024, 3072),
  );
  await client.request(nbd.NbdCmd.WRITE, 0, 0, 512, pattern(512, 4));
  expect(host.files.durable('/a.img').subarray(0, 512)).not.toEqual(pattern(512, 4));
  await client.request(nbd.NbdCmd.WRITE, nbd.CmdFlag.FUA, 512, 512, pattern(512, 5));
  expect(host.files.durable('/a.img').subarray(512, 1024)).toEqual(pattern(512, 5));
  await client.request(nbd.NbdCmd.WRITE_ZEROES, nbd.CmdFlag.NO_HOLE, 1024, 512);
  await client.request(nbd.NbdCmd.TRIM, 0, 2048, 512);
  expectSame(
    host.files.bytes('/a.img').subarray(1024, 2560),
    Buffer.concat([Buffer.alloc(512), pattern(65536).subarray(1536, 2048), Buffer.alloc(512)]),
  );
  await client.request(nbd.NbdCmd.FLUSH, 0, 0, 0);
  expectSame(host.files.durable('/a.img'), host.files.bytes('/a.img'));
  await client.request(nbd.NbdCmd.WRITE, 0, 100, 50, Buffer.alloc(50, 0xaa));
  expect(await client.request(nbd.NbdCmd.READ, 0, 99, 3)).toEqual(
    Buffer.from([pattern(512, 4)[99], 0xaa, 0xaa]),
  );
});

test(
  'zeroes: NO_HOLE takes up space, FAST_ZERO is refused where zeroes are written one by one; ' +
    'CACHE reads',
  async () => {
    const { host, connect } = await setUp();
    const client = await connect();
    await client.request(nbd.NbdCmd.WRITE_ZEROES, nbd.CmdFlag.NO_HOLE, 4096, 4096);
    expect(host.files.log.filter(line => line.startsWith('punchHole'))).toEqual([]);
    await expect(
      client.request(nbd.NbdCmd.WRITE_ZEROES, nbd.CmdFlag.FAST_ZERO, 8192, 4096),
    ).rejects.toThrow('error 95');
    expectSame(
      host.files.bytes('/a.img').subarray(8192, 12288),
      pattern(65536).subarray(8192, 12288),
    );
    host.files.log.length = 0;
    await client.request(nbd.NbdCmd.CACHE, 0, 0, 65536);
    expect(host.files.log).toEqual(['pread /a.img 0 65536']);
  },
);

test(
  'a sparse disk: reads come as data and holes unless DF forbids it, and the status says ' +
    'which',
  async () => {
    const host = testHost();
    await createImage(host, '/q.img', 'qcow2', { ...defaultCreateOptions, size: 1 << 20 });
    const { connect, layer } = await setUp(true, 'file=/q.img,format=qcow2,id=d0,if=none', host);
    await layer.backend('d0').pwrite(65536, pattern(65536, 5));
    const client = await connect();
    const expected = Buffer.concat([Buffer.alloc(65536), pattern(65536, 5), Buffer.alloc(65536)]);
    expectSame(await client.request(nbd.NbdCmd.READ, 0, 0, 196_608), expected);
    expectSame(await client.request(nbd.NbdCmd.READ, nbd.CmdFlag.DF, 0, 196_608), expected);
    const runs = await client.request(nbd.NbdCmd.BLOCK_STATUS, 0, 0, 1 << 20);
    expect([0, 1, 2].map(n => [runs.readUInt32BE(8 * n), runs.readUInt32BE(8 * n + 4)])).toEqual([
      [65536, 3],
      [65536, 0],
      [(1 << 20) - 131_072, 3],
    ]);
    const sent = host.sockets.servers[0].sent;
    await client.request(nbd.NbdCmd.READ, 0, 1 << 18, 1 << 18);
    expect(host.sockets.servers[0].sent - sent).toBeLessThan(100);
  },
);

test('many in flight, answered in any order', async () => {
  const { host, connect } = await setUp();
  const client = await connect();
  let n = 0;
  host.files.delay = () => turns((n++ * 7) % 11);
  const reads = Array.from({ length: 200 }, (_, i) =>
    client.request(nbd.NbdCmd.READ, 0, (i % 128) * 512, 512),
  );
  (await Promise.all(reads)).forEach((data, i) =>
    expectSame(data, pattern(65536).subarray((i % 128) * 512, (i % 128) * 512 + 512)),
  );
});

test('errors are errnos, and the connection stays', async () => {
  const { connect } = await setUp(false);
  const client = await connect();
  await expect(client.request(nbd.NbdCmd.WRITE, 0, 0, 512, Buffer.alloc(512))).rejects.toThrow(
    'error 1',
  );
  await expect(client.request(nbd.NbdCmd.WRITE_ZEROES, 0, 0, 512)).rejects.toThrow('error 1');
  await expect(client.request(nbd.NbdCmd.READ, 0, 65536, 512)).rejects.toThrow('error 22');
  await expect(client.request(nbd.NbdCmd.READ, 0, 2 ** 47, 512)).rejects.toThrow('error 22');
  await expect(client.request(nbd.NbdCmd.READ, 0, 0, 33 * 1024 * 1024)).rejects.toThrow('error 22');
  await expect(client.request(9, 0, 0, 0)).rejects.toThrow('error 22');
  await expect(client.request(nbd.NbdCmd.READ, 0x8000, 0, 512)).rejects.toThrow('error 22');
  expect((await client.request(nbd.NbdCmd.READ, 0, 0, 512)).length).toBe(512);
});

test('writes that are too long or beyond the end change nothing', async () => {
  const { host, connect } = await setUp();
  const client = await connect();
  await expect(client.request(nbd.NbdCmd.WRITE, 0, 65536, 512, Buffer.alloc(512))).rejects.toThrow(
    'error 28',
  );
  await expect(
    client.request(nbd.NbdCmd.WRITE, 0, 0, 33 * 1024 * 1024, Buffer.alloc(33 * 1024 * 1024)),
  ).rejects.toThrow('error 22');
  expectSame(host.files.bytes('/a.img'), pattern(65536));
});

test('an unknown export, no server, and a server that says nothing', async () => {
  const { host, connect } = await setUp();
  await expect(connect('nope')).rejects.toThrow("has no export 'nope': no such export");
  await expect(
    NbdClient.connect(host, { ...options, address: { kind: 'unix', path: '/other' } }),
  ).rejects.toThrow('connection refused');
  await host.sockets.listen({ kind: 'unix', path: '/mute' }, () => undefined);
  const refused = expect(
    NbdClient.connect(host, { ...options, address: { kind: 'unix', path: '/mute' } }),
  ).rejects.toThrow('no handshake within 1000 ms');
  await turns(2);
  await host.clock.advance(1000);
  await refused;
  expect(host.clock.armed).toBe(0);
});

test('a server that is not one is named; EXPORT_NAME is used where GO is not known', async () => {
  const host = testHost();
  const talk = async (answers: Buffer[]) => {
    const path = `/s${Math.random()}`;
    await host.sockets.listen({ kind: 'unix', path }, stream => {
      stream.onData(
        () => void (answers.length > 0 && stream.write(answers.shift()!).catch(() => undefined)),
      );
      stream.onEnd(() => undefined);
      void stream.write(answers.shift()!);
    });
    return NbdClient.connect(host, { ...options, address: { kind: 'unix', path } });
  };
  const greet = (flags: number) =>
    nbd.greeting.encode({ magic: nbd.NBD_MAGIC, option: nbd.OPTION_MAGIC, flags });
  await expect(talk([Buffer.from('HTTP/1.1 400 Bad Request\r\n')])).rejects.toThrow(
    'does not speak new-style NBD',
  );
  await expect(talk([greet(0)])).rejects.toThrow('fixed new-style');
  const unsupported = Buffer.concat([
    nbd.encodeOptionReply(nbd.NbdOpt.STRUCTURED_REPLY, nbd.NbdRep.ERR_UNSUP),
  ]);
  const noGo = nbd.encodeOptionReply(nbd.NbdOpt.GO, nbd.NbdRep.ERR_UNSUP);
  const client = await talk([
    greet(3),
    unsupported,
    noGo,
    nbd.exportNameReply.encode({ size: 4096, flags: 1 }),
  ]);
  expect(client.info).toMatchObject({ size: 4096, flags: 1 });
  await expect(
    talk([greet(3), unsupported, noGo, nbd.exportNameReply.encode({ size: 1000, flags: 1 })]),
  ).rejects.toThrow('not a whole number of sectors');
});

test('an answer without a request ends the connection and all its requests', async () => {
  const { host, connect } = await setUp();
  const client = await connect();
  host.files.delay = () => new Promise(() => undefined);
  const waiting = expect(client.request(nbd.NbdCmd.READ, 0, 0, 512)).rejects.toThrow(
    'answers a request that was not made',
  );
  await turns(3);
  void host.sockets.servers[0].write(nbd.encodeSimpleReply(Buffer.alloc(8, 0x55), 0));
  await waiting;
  await expect(client.request(nbd.NbdCmd.READ, 0, 0, 512)).rejects.toThrow('not made');
});

test('a request that is not answered in time ends the connection', async () => {
  const { host, connect } = await setUp();
  const client = await connect();
  host.files.delay = () => new Promise(() => undefined);
  const waiting = expect(client.request(nbd.NbdCmd.READ, 0, 0, 512)).rejects.toThrow(
    'no answer within 1000 ms',
  );
  await host.clock.advance(1001);
  await waiting;
});

test('back-pressure: a client that sends and never reads is not served without bound', async () => {
  const { host } = await setUp();
  const [client] = host.sockets.pair();
  const accept = host.sockets.clients[0];
  expect(accept).toBe(client);
  const stream = (await host.sockets.connect(address)) as typeof client;
  await stream.write(
    Buffer.concat([
      nbd.clientFlags.encode({ flags: 3 }),
      nbd.encodeOption(nbd.NbdOpt.EXPORT_NAME, Buffer.from('d0')),
    ]),
  );
  let running = 0;
  host.files.delay = () => {
    running++;
    return new Promise(() => undefined);
  };
  for (let i = 0; i < 500; i++)
    await stream.write(nbd.encodeRequest(nbd.NbdCmd.READ, 0, i, 0, 512));
  await turns(20);
  expect(running).toBe(defaultServerLimits.inFlight);
  expect(stream.other.isPaused).toBe(true);
});

test('who only connects makes room for others, and is dropped in the end', async () => {
  const host = testHost();
  const server = new NbdServer(host, { ...defaultServerLimits, clients: 2 });
  await server.start(address);
  const ended: number[] = [];
  for (let i = 0; i < 3; i++) {
    const stream = await host.sockets.connect(address);
    stream.onData(() => undefined);
    stream.onEnd(() => ended.push(i));
  }
  await turns(5);
  expect(ended).toEqual([0]);
  await host.clock.advance(defaultServerLimits.handshakeMs);
  await turns(5);
  expect(ended).toEqual([0, 1, 2]);
});

describe('16 clients that negotiated and say no more', () => {
  async function full() {
    const bench = await setUp();
    const silent: NbdClient[] = [];
    for (let n = 0; n < defaultServerLimits.clients; n++) {
      silent.push(await bench.connect());
      await bench.host.clock.advance(100);
    }
    return { ...bench, silent, gone: () => silent.flatMap(({ error }, n) => (error ? [n] : [])) };
  }

  test('do not keep the next one out: the connection that was silent for longest is closed', async () => {
    const { silent, connect, gone } = await full();
    await silent[0].request(nbd.NbdCmd.READ, 0, 0, 512);
    const next = await connect();
    expect((await next.request(nbd.NbdCmd.READ, 0, 0, 512)).length).toBe(512);
    await turns(5);
    expect(gone()).toEqual([1]);
  });

  test('who has a request under way keeps its place', async () => {
    const { host, silent, connect, gone } = await full();
    let go: () => void = () => undefined;
    const held = new Promise<void>(resolve => (go = resolve));
    host.files.delay = () => held;
    const reads = silent.slice(0, 15).map(client => client.request(nbd.NbdCmd.READ, 0, 0, 512));
    await turns(5);
    await connect();
    await turns(5);
    expect(gone()).toEqual([15]);
    go();
    await Promise.all(reads);
  });

  test('the writer of a replica keeps its place, and a crowd gives way before a single one', async () => {
    const { layer, host, connect, silent, gone } = await full();
    const node = layer.backend('d0').node;
    silent[0].close();
    await turns(5);
    layer.nbd.oneWriter(node, true);
    await silent[5]
      .request(nbd.NbdCmd.WRITE, 0, 0, 512, Buffer.alloc(512, 1))
      .catch(() => undefined);
    const single = await connect();
    Object.defineProperty(host.sockets.servers.at(-1)!, 'peer', { value: '10.9.9.9:7' });
    for (let n = 0; n < 14; n++) await connect();
    await turns(5);
    expect(gone()).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    expect([silent[5].error, single.error]).toEqual([undefined, undefined]);
  });
});

test('nbd_server_start, add, stop: their errors', async () => {
  const { layer, connect } = await setUp();
  await expect(layer.nbd.start(address)).rejects.toThrow('NBD server already running');
  expect(() => layer.nbdServerAdd({ device: 'd0' })).toThrow(
    "NBD server already exporting device 'd0'",
  );
  expect(() => layer.nbdServerAdd({ device: 'nope' })).toThrow("Device 'nope' not found");
  layer.nbdServerAdd({ device: 'd0', name: 'again' });
  const client = await connect('again');
  await expect(client.request(nbd.NbdCmd.WRITE, 0, 0, 512, Buffer.alloc(512))).rejects.toThrow(
    'error 1',
  );
  await layer.nbd.stop();
  await turns(5);
  expect(client.error?.message).toContain('closed');
  await expect(layer.nbd.stop()).rejects.toThrow('NBD server not running');
  expect(() => layer.nbdServerAdd({ device: 'd0' })).toThrow('NBD server not running');
  await layer.nbd.start(address);
});

test('a read-only drive stays read-only, whatever is asked', async () => {
  const { connect, layer } = await setUp(true, 'file=/a.img,format=raw,id=d0,if=none,readonly=on');
  expect(layer.nbd.describe()).toMatchObject([{ writable: false }]);
  const client = await connect();
  expect(client.info.flags & nbd.ExportFlag.READ_ONLY).toBeTruthy();
});

test('goodbye: what was asked before DISC is answered', async () => {
  const { host, connect, layer } = await setUp();
  const client = await connect();
  host.files.delay = () => turns(5);
  const read = client.request(nbd.NbdCmd.READ, 0, 0, 512);
  await host.sockets.clients[0].write(nbd.encodeRequest(nbd.NbdCmd.DISC, 0, 0, 0, 0));
  expect((await read).length).toBe(512);
  await turns(5);
  expect(layer.nbd.describe()[0].clients).toBe(0);
});
