/**
 * Goal: over TLS and with structured replies too, whatever a peer says costs the server that client
 * and nothing else, and the client that connection: no crash, no hang, no byte changed that was not
 * asked for. Method: real sockets and real TLS by pre-shared keys. Conversations that are right,
 * with bytes changed, left out and put in at every level, against our server; our client against a
 * server behind whose TLS somebody changes the replies. A number of them, whatever time they take
 * (COLO_FUZZ_CASES).
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VmError } from '../../../src/base/errors.js';
import { BlockLayer } from '../../../src/block/layer/layer.js';
import * as nbd from '../../../src/block/nbd/codec.js';
import { parseDrive } from '../../../src/block/options/options.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { Stream, TlsContext } from '../../../src/host/ports.js';
import { expectSame, pattern } from '../../support/block-host.js';
import { Random } from '../../support/random.js';

/** Rounds of four conversations with the server; of the client a third as many. */
const CASES = Number(process.env.COLO_FUZZ_CASES ?? 30);
const SIZE = 1024 * 1024;
const host = nodeHost();
const keys = new Map([['qemu', Buffer.alloc(32, 7)]]);
const client: TlsContext = host.sockets.tls!('client', { kind: 'psk', keys });
const server: TlsContext = host.sockets.tls!('server', { kind: 'psk', keys });
const dir = mkdtempSync(join(tmpdir(), 'colo-fuzz-'));
const layers: BlockLayer[] = [];
const seed = Number(process.env.COLO_SEED ?? 1);

const layer = () => {
  const made = new BlockLayer(host);
  made.graph.credentials = (_id, endpoint) => ({
    value: { kind: 'psk', keys, endpoint } as never,
    dispose: () => undefined,
  });
  layers.push(made);
  return made;
};

const unexpected: unknown[] = [];
const note = (error: unknown) => void unexpected.push(error);
beforeAll(() => {
  for (const name of ['r.img', 'w.img']) writeFileSync(join(dir, name), pattern(SIZE));
  process.on('unhandledRejection', note);
});
afterEach(async () => {
  for (const made of layers.splice(0)) await made.close();
  expect(unexpected).toEqual([]);
});
afterAll(() => {
  process.off('unhandledRejection', note);
  rmSync(dir, { recursive: true });
});

async function serve(tls: boolean): Promise<BlockLayer> {
  const made = layer();
  const path = join(dir, `nbd-${tls ? 'tls' : 'plain'}`);
  for (const name of ['r', 'w'])
    await made.addDrive(parseDrive(`file=${dir}/${name}.img,format=raw,id=${name},if=none`));
  await made.nbdServerStart({ kind: 'unix', path }, tls ? 'psk' : undefined);
  made.nbdServerAdd({ device: 'r' });
  made.nbdServerAdd({ device: 'w', writable: true });
  return made;
}
const connect = (tls: boolean) =>
  host.sockets.connect(
    { kind: 'unix', path: join(dir, `nbd-${tls ? 'tls' : 'plain'}`) },
    { timeoutMs: 10_000 },
  );

/** A byte changed, some left out, some put in; or nothing. */
function mutate(random: Random, data: Buffer): Buffer {
  const at = random.below(data.length + 1);
  const out = Buffer.from(data);
  switch (random.below(4)) {
    case 0:
      return out;
    case 1:
      if (at < out.length) out[at] = random.below(256);
      return out;
    case 2:
      return Buffer.concat([
        out.subarray(0, at),
        out.subarray(Math.min(out.length, at + 1 + random.below(20))),
      ]);
    default:
      return Buffer.concat([
        out.subarray(0, at),
        Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256))),
        out.subarray(at),
      ]);
  }
}

function negotiation(random: Random, right: boolean): Buffer {
  const name = right ? 'r' : ['r', 'w', '', 'nobody'][random.below(4)];
  const option = nbd.encodeOption;
  const parts = [
    option(nbd.NbdOpt.STRUCTURED_REPLY, Buffer.alloc(0)),
    option(nbd.NbdOpt.LIST, Buffer.alloc(0)),
    option(nbd.NbdOpt.SET_META_CONTEXT, nbd.encodeMetaQuery(name, ['base:allocation'])),
    option(77, Buffer.alloc(9)),
  ];
  const some = parts.filter(() => right || random.below(3) > 0);
  return Buffer.concat([
    ...some,
    option(nbd.NbdOpt.GO, nbd.encodeGo(name, [nbd.NbdInfo.BLOCK_SIZE])),
  ]);
}

/** Writes carry what is there already: whatever arrives whole changes nothing. */
function request(random: Random, cookie: number): Buffer {
  const type = [0, 0, 0, 1, 3, 5, 7, 7, 99][random.below(9)];
  const offset = random.below(SIZE / 512) * 512;
  const length = Math.min(SIZE - offset, [512, 4096, 100_000, 0][random.below(4)]);
  const header = nbd.encodeRequest(
    type,
    random.below(6) === 0 ? random.below(64) : 0,
    cookie,
    random.below(20) === 0 ? 2 ** 52 : offset,
    random.below(20) === 0 ? 0xffff_ffff : length,
  );
  return type === 1
    ? Buffer.concat([header, pattern(SIZE).subarray(offset, offset + length)])
    : header;
}

const structuredReply = Buffer.from([0x66, 0x8e, 0x33, 0xef]);

/**
 * One conversation, to its end or for a moment. Gives whether it came as far as to structured
 * replies. right: nothing is changed, left out or cut off.
 */
async function converse(random: Random, tls: boolean, right = false): Promise<boolean> {
  let stream: Stream = await connect(tls);
  const heard: Buffer[] = [];
  let over: () => void = () => undefined;
  const ended = new Promise<void>(resolve => (over = resolve));
  const listen = (on: Stream) => {
    on.onData(bytes => void heard.push(Buffer.from(bytes)));
    on.onEnd(() => over());
  };
  const say = (bytes: Uint8Array) => stream.write(bytes).catch(() => undefined);
  listen(stream);
  void say(nbd.clientFlags.encode({ flags: 3 }));
  if (tls) {
    void say(nbd.encodeOption(nbd.NbdOpt.STARTTLS, Buffer.alloc(0)));
    const granted = await Promise.race([
      ended.then(() => false),
      until(() => Buffer.concat(heard).length >= 18 + 20),
    ]);
    if (!granted) return false;
    if (!right && random.below(6) === 0) {
      // Not TLS at all.
      await say(mutate(random, Buffer.alloc(300, random.below(256))));
      await Promise.race([ended, pause(5)]);
      stream.destroy();
      return false;
    }
    stream = await client.start(stream, { hostname: 'localhost', timeoutMs: 10_000 });
    listen(stream);
  }
  const spoiled = !right && random.below(3) === 0;
  const words = negotiation(random, right);
  void say(spoiled ? mutate(random, words) : words);
  if (right) void say(nbd.encodeRequest(nbd.NbdCmd.READ, 0, 1, 0, 512));
  for (let n = 1; n < 12 && !right; n++)
    void say(random.below(4) === 0 ? mutate(random, request(random, n)) : request(random, n));
  const answered = () => Buffer.concat(heard).includes(structuredReply);
  // A third is cut off wherever it stands; the server is of this process, so turns are enough.
  if (!right && random.below(3) === 0) await Promise.race([ended, pause(random.below(12))]);
  else await Promise.race([ended, until(answered, right ? 2000 : 50)]);
  stream.destroy();
  return answered();
}

const pause = (ms: number) => new Promise<void>(resolve => setTimeout(resolve, ms));
async function until(what: () => boolean, turns = 2000): Promise<boolean> {
  for (let n = 0; n < turns && !what(); n++) await pause(1);
  return what();
}

test.each([true, false])(
  'our server; TLS: %s',
  async tls => {
    const made = await serve(tls);
    const random = new Random(seed);
    const before = process.memoryUsage().rss;
    for (let round = 0; round < CASES; round++)
      await Promise.all(Array.from({ length: 4 }, () => converse(random, tls)));
    expect(await converse(random, tls, true)).toBe(true);
    // Nobody is left, and whoever comes now is served.
    expect(await until(() => made.nbd.describe().every(({ clients }) => clients === 0))).toBe(true);
    const other = layer();
    const path = join(dir, `nbd-${tls ? 'tls' : 'plain'}`);
    const creds = tls ? ',tls-creds=psk' : '';
    for (const name of ['r', 'w']) {
      const disk = await other.addDrive(
        parseDrive(
          `driver=nbd,path=${path},export=${name},id=${name},if=none,read-only=on${creds}`,
        ),
      );
      const got = await disk.pread(0, SIZE);
      if (name === 'r') expectSame(got, pattern(SIZE));
      else expect(got.length).toBe(SIZE);
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(400 << 20);
  },
  60_000,
);

/** Between our client and our server: ends TLS, and spoils replies, but not those of the first. */
async function spoiler(random: Random): Promise<string> {
  const path = join(dir, 'spoiled');
  const listener = await host.sockets.listen(
    { kind: 'unix', path },
    near => void relay(near).catch(() => near.destroy()),
  );
  closing.push(() => listener.dispose());
  let first = true;
  async function relay(plain: Stream): Promise<void> {
    const far = await connect(false);
    let near: Stream | undefined;
    const spoilAt = first ? Infinity : 200 + random.below(3000);
    first = false;
    let passed = 0;
    const hello: Buffer[] = [];
    plain.onEnd(() => far.destroy());
    plain.onData(bytes => {
      hello.push(Buffer.from(bytes));
      const said = Buffer.concat(hello);
      // Flags and STARTTLS: it is granted, and the rest is for the server.
      if (said.length !== 4 + 16) return;
      void plain.write(nbd.encodeOptionReply(nbd.NbdOpt.STARTTLS, nbd.NbdRep.ACK, Buffer.alloc(0)));
      void server.start(plain, { timeoutMs: 10_000 }).then(
        secured => {
          near = secured;
          near.onData(more => void far.write(Buffer.from(more)).catch(() => undefined));
          near.onEnd(() => far.destroy());
          void far.write(said.subarray(0, 4));
        },
        () => far.destroy(),
      );
    });
    let greeted = 0;
    far.onEnd(() => (near ?? plain).destroy());
    far.onData(bytes => {
      let data = Buffer.from(bytes);
      if (greeted < 18) {
        const part = data.subarray(0, 18 - greeted);
        greeted += part.length;
        void plain.write(part);
        data = data.subarray(part.length);
      }
      if (data.length === 0) return;
      passed += data.length;
      void (near ?? plain)
        .write(passed > spoilAt ? mutate(random, data) : data)
        .catch(() => undefined);
    });
  }
  return path;
}
const closing: (() => void)[] = [];

test('our client, where a peer behind TLS changes what the server says', async () => {
  await serve(false);
  const random = new Random(seed + 1);
  const path = await spoiler(random);
  let [whole, broken] = [0, 0];
  for (let n = 0; n < CASES / 3; n++) {
    const made = new BlockLayer(host);
    made.graph.credentials = (_id, endpoint) => ({
      value: { kind: 'psk', keys, endpoint } as never,
      dispose: () => undefined,
    });
    try {
      const disk = await made.addDrive(
        parseDrive(
          `driver=nbd,path=${path},export=r,id=c,if=none,read-only=on,tls-creds=psk,` +
            'open-timeout=5,x-request-timeout=2',
        ),
      );
      const answers = await Promise.allSettled(
        Array.from({ length: 6 }, (_, n) =>
          n % 2 === 0 ? disk.pread(n * 4096, 4096) : disk.node.blockStatus(0, SIZE),
        ),
      );
      for (const answer of answers) {
        if (answer.status === 'fulfilled') whole++;
        else {
          expect(answer.reason).toBeInstanceOf(VmError);
          broken++;
        }
      }
    } catch (error) {
      expect(error).toBeInstanceOf(VmError);
      broken++;
    }
    await made.close();
  }
  for (const close of closing.splice(0)) close();
  expect([whole > 0, broken > 0]).toEqual([true, true]);
}, 60_000);
