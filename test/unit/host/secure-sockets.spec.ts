/**
 * Goal: a connection is handed on only when both ends have shown what they must; every other one is
 * refused with a sentence on the side that knows why, within a bound, and the next one comes in.
 * Method: real sockets, credentials by openssl (skipped by name where it is missing); what is wrong
 * is made so one by one.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimTls } from '../../../src/host/credentials.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { Address, Listener, Stream, TlsCredentials } from '../../../src/host/ports.js';
import {
  defaultSecureLimits,
  type SecureLimits,
  SecureSockets,
} from '../../../src/host/secure-sockets.js';
import { loadPsk, loadX509, type TlsEndpoint } from '../../../src/host/tls-creds.js';
import { expiredSide, pairCertificates, pskFolder } from '../../support/openssl-files.js';

const missing = spawnSync('openssl', ['version']).status !== 0;
const suite = missing ? describe.skip : describe;
const host = nodeHost();
const dir = mkdtempSync(join(tmpdir(), 'colo-secure-'));
const at = (name: string) => join(dir, name);
const opened: { dispose(): void }[] = [];
afterEach(() => opened.splice(0).forEach(one => one.dispose()));
afterAll(() => rmSync(dir, { recursive: true }));

type Load = (end: TlsEndpoint) => Promise<TlsCredentials>;
const x509 =
  (folder: string): Load =>
  endpoint =>
    loadX509(host.files, { dir: at(folder), endpoint, verifyPeer: true });
const psk =
  (folder: string, username = 'qemu'): Load =>
  endpoint =>
    loadPsk(host.files, { path: at(`${folder}/keys.psk`), endpoint, username });
const plain = undefined;
const old = x509('old');

/** notes: what its owner heard. */
async function secure(
  load: Load | undefined,
  { hostname, limits }: { hostname?: string; limits?: Partial<SecureLimits> } = {},
) {
  const notes: string[] = [];
  const held = load && { client: await load('client'), server: await load('server') };
  const sockets = new SecureSockets(
    host,
    {
      claim: end =>
        held &&
        claimTls(
          host.sockets,
          () => ({ value: held[end], dispose: () => undefined }),
          'x',
          end,
          '',
        ),
      hostname,
      note: line => notes.push(line),
    },
    { ...defaultSecureLimits, noteEveryMs: 0, ...limits },
  );
  return { sockets, notes };
}

/** Echoes what comes. */
async function serve(load: Load | undefined, limits?: Partial<SecureLimits>) {
  const { sockets, notes } = await secure(load, { limits });
  const admitted: Stream[] = [];
  const listener = await sockets.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, stream => {
    admitted.push(stream);
    opened.push(stream);
    stream.onData(bytes => void stream.write(Uint8Array.from(bytes)).catch(() => undefined));
    stream.onEnd(() => stream.destroy());
  });
  opened.push(listener);
  return { listener, notes, admitted };
}

const portOf = ({ address }: Listener) => (address.kind === 'tcp' ? address.port : 0);

/** What comes back of a word, or the sentence with which the connection ended. */
async function echo(
  load: Load | undefined,
  listener: { address: Address },
  hostname?: string,
): Promise<string> {
  const { sockets } = await secure(load, { hostname });
  try {
    const stream = await sockets.connect(listener.address, { timeoutMs: 4000 });
    opened.push(stream);
    return await new Promise<string>(resolve => {
      stream.onData(bytes => resolve(Buffer.from(bytes).toString()));
      stream.onEnd(error => resolve(error ? error.message : 'the end'));
      stream.write(Buffer.from('some words')).catch(() => undefined);
    });
  } catch (error) {
    return (error as Error).message;
  }
}

async function until(what: () => boolean): Promise<void> {
  for (let n = 0; !what(); n++) {
    if (n > 1000) throw new Error('it did not come');
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

suite(`sockets that speak TLS${missing ? ' (without openssl)' : ''}`, () => {
  beforeAll(async () => {
    await pairCertificates(at('pair'));
    await pairCertificates(at('others'));
    await pairCertificates(at('elsewhere'), ['10.9.9.9']);
    expiredSide(at('pair'), at('old'));
    pskFolder(at('key'), '5');
    pskFolder(at('otherkey'), '6');
    pskFolder(at('otheruser'), '5', 'mallory');
  }, 60_000);

  test('by certificates, and by keys; a name may stand for the address', async () => {
    for (const load of [x509('pair/a'), psk('key')]) {
      const { listener, notes } = await serve(load);
      expect(await echo(load, listener)).toBe('some words');
      expect(notes).toEqual([]);
    }
    const { listener } = await serve(x509('pair/a'));
    expect(await echo(x509('pair/b'), listener, 'localhost')).toBe('some words');
    expect(await echo(x509('pair/b'), listener, 'db.example')).toMatch(
      /certificate is not made out to this address: .*db\.example/,
    );
  });

  const OTHER_CA = "the peer's certificate is not of the authority in ca-cert.pem";
  const EXPIRED = "the peer's certificate has expired";
  const NOTHING_COMMON = 'the two sides have no way in common';
  const UNWANTED = 'closed the connection right after the handshake';
  const BAD_KEY = 'different keys under this name';
  test.each<[string, Load, Load | undefined, string, string]>([
    ['a client of another authority', x509('pair/a'), x509('others/b'), OTHER_CA, ''],
    ['a server of another authority', x509('others/a'), x509('pair/b'), OTHER_CA, ''],
    ['a client that has expired', x509('pair/a'), old, UNWANTED, EXPIRED],
    ['a server that has expired', old, x509('pair/b'), EXPIRED, ''],
    ['another key', psk('key'), psk('otherkey'), BAD_KEY, BAD_KEY],
    [
      'a user without a key',
      psk('key'),
      psk('otheruser', 'mallory'),
      'no key under our name',
      'has no key here',
    ],
    ['keys at certificates', x509('pair/a'), psk('key'), NOTHING_COMMON, NOTHING_COMMON],
    ['certificates at keys', psk('key'), x509('pair/b'), NOTHING_COMMON, NOTHING_COMMON],
    ['plain text at TLS', x509('pair/a'), plain, 'the end', 'the peer does not speak TLS'],
  ])('%s is refused, and the next one comes in', async (_what, server, client, here, there) => {
    const { listener, notes, admitted } = await serve(server);
    expect(await echo(client, listener)).toContain(here);
    await until(() => notes.length > 0);
    expect(notes.join()).toContain(`a connection was refused: TLS with 127.0.0.1:`);
    expect(notes.join()).toContain(there);
    expect(admitted).toEqual([]);
    const fits = server === old ? undefined : server;
    if (fits) expect(await echo(fits, listener)).toBe('some words');
  });

  test('a client without a certificate is refused', async () => {
    const { listener, notes, admitted } = await serve(x509('pair/a'));
    const whole = await x509('pair/b')('client');
    const bare: Load = () =>
      Promise.resolve({ ...whole, certificate: undefined, key: undefined } as TlsCredentials);
    expect(await echo(bare, listener)).toMatch(/the peer wants a certificate|right after the hand/);
    await until(() => notes.length > 0);
    expect(notes.join()).toContain('the peer shows no certificate');
    expect(admitted).toEqual([]);
  });

  test('TLS at a server of plain text, and at one that says nothing', async () => {
    for (const [greeting, sentence] of [
      ['COLO and more of it', 'the peer does not speak TLS'],
      ['', 'no handshake within'],
    ]) {
      const server = createServer(socket => {
        socket.on('error', () => undefined);
        if (greeting !== '') socket.once('data', () => socket.write(greeting));
        opened.push({ dispose: () => void socket.destroy() });
      });
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
      opened.push({ dispose: () => void server.close() });
      const { port } = server.address() as { port: number };
      const { sockets } = await secure(x509('pair/b'));
      await expect(
        sockets.connect({ kind: 'tcp', host: '127.0.0.1', port }, { timeoutMs: 300 }),
      ).rejects.toThrow(sentence);
    }
  });

  test('those who say nothing are given up: by time, and by number for others', async () => {
    const mute = async (listener: Listener) => {
      const socket: Socket = connect(portOf(listener), '127.0.0.1');
      opened.push({ dispose: () => void socket.destroy() });
      let gone = false;
      socket.on('error', () => undefined);
      socket.once('close', () => (gone = true));
      socket.resume();
      await new Promise(resolve => socket.once('connect', resolve));
      return () => gone;
    };
    const timed = await serve(x509('pair/a'), { handshakeMs: 200 });
    const late = await mute(timed.listener);
    await until(late);
    expect(timed.notes.join()).toContain('no handshake within 200 ms');
    const counted = await serve(x509('pair/a'), { shaking: 2, handshakeMs: 60_000 });
    const many = [];
    for (let n = 0; n < 3; n++) many.push(await mute(counted.listener));
    await until(many[0]);
    expect(many[2]()).toBe(false);
    expect(await echo(x509('pair/b'), counted.listener)).toBe('some words');
    // What is under way ends with the listener, and is not handed on.
    counted.listener.dispose();
    await until(many[2]);
    expect(counted.admitted).toHaveLength(1);
  });

  test('many refusals make few lines', async () => {
    const { listener, notes } = await serve(x509('pair/a'), { noteEveryMs: 60_000 });
    for (let n = 0; n < 4; n++) expect(await echo(plain, listener)).toBe('the end');
    expect(notes).toHaveLength(1);
  });

  test('a listener of plain text turns to TLS when its owner wants it', async () => {
    let want = false;
    const held = await x509('pair/a')('server');
    const notes: string[] = [];
    const sockets = new SecureSockets(host, {
      claim: end =>
        want
          ? claimTls(host.sockets, () => ({ value: held, dispose: () => undefined }), 'x', end, '')
          : undefined,
      hostname: undefined,
      note: line => notes.push(line),
    });
    const listener = await sockets.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, stream => {
      opened.push(stream);
      stream.onData(bytes => void stream.write(Uint8Array.from(bytes)));
    });
    opened.push(listener);
    expect(await echo(plain, listener)).toBe('some words');
    want = true;
    expect(await echo(x509('pair/b'), listener)).toBe('some words');
    expect(await echo(plain, listener)).toBe('the end');
    expect(notes).toHaveLength(1);
  });
});
