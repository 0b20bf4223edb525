/**
 * Goal: a browser sees the screen and types at it; what is no WebSocket of bytes is sent away and
 * leaves nothing. Method: real sockets, the client of the library, a viewer of the tests' own.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { Events } from '../../../src/base/events.js';
import { nodeHost } from '../../../src/host/node/host.js';
import type { Stream, TlsContext } from '../../../src/host/ports.js';
import { newSurface } from '../../../src/hw/display/surface.js';
import { InputRouter } from '../../../src/hw/input/router.js';
import type { QmpEvents, VncPeer } from '../../../src/qapi/types.js';
import { VncServer, type VncSpec } from '../../../src/vnc/server.js';
import { RfbClient } from '../../support/rfb-client.js';
import { makeX509 } from '../../support/tls-files.js';

const host = nodeHost();
const surface = newSurface(20, 10);
let server: VncServer;
let notes: string[];
let keys: string[];
let events: Events<QmpEvents>;
const sockets = new Set<WebSocket | Socket>();

beforeEach(() => {
  [notes, keys, events] = [[], [], new Events<QmpEvents>()];
});

afterEach(() => {
  for (const socket of sockets)
    if (socket instanceof WebSocket) socket.terminate();
    else socket.destroy();
  sockets.clear();
  server.dispose();
});

/** The port for browsers. */
async function serve(given: Partial<VncSpec> = {}, tls?: TlsContext): Promise<number> {
  const input = new InputRouter({ running: true }, host.clock);
  input.addKeyboard({ ready: true, key: (code, down) => void keys.push(`${code} ${down}`) });
  surface.pixels.fill(0x123456);
  server = new VncServer(
    { host: '127.0.0.1', display: 30, to: 900, websocket: 'by-display', password: false, ...given },
    {
      clock: host.clock,
      sockets: host.sockets,
      entropy: host.entropy,
      events,
      name: 'vm',
      input,
      display: { paint: () => ({ surface, changed: [] }) },
      tls,
      takesInput: () => true,
      note: line => void notes.push(line),
    },
  );
  await server.listen();
  const { service = '' } = server.webAddress ?? {};
  expect(Number(service)).toBe(Number(server.address.service) - 200);
  return Number(service);
}

async function open(
  port: number,
  protocols: string[] = [],
  origin?: string,
  ca?: Buffer,
): Promise<WebSocket> {
  const url = `${ca ? 'wss' : 'ws'}://127.0.0.1:${port}/websockify`;
  const web = new WebSocket(url, protocols, { origin, ca });
  sockets.add(web);
  web.binaryType = 'nodebuffer';
  // What comes before somebody listens waits.
  web.once('open', () => web.pause());
  await new Promise((resolve, reject) => web.once('open', resolve).once('error', reject));
  return web;
}

function closed(web: WebSocket): Promise<number> {
  web.resume();
  return new Promise(resolve => web.once('close', resolve));
}

/** For the viewer of the tests; a byte of the protocol in each message, if cut. */
function streamOf(web: WebSocket, cut = false): Stream {
  const send = (bytes: Uint8Array) =>
    new Promise<void>(resolve => web.send(bytes, { binary: true }, () => resolve()));
  return {
    peer: 'test',
    pending: 0,
    write: async bytes => {
      if (!cut) return send(bytes);
      for (const byte of bytes) await send(Buffer.of(byte));
    },
    onData: fn => {
      web.on('message', data => fn(data as Buffer));
      web.resume();
    },
    onEnd: fn => void web.on('close', () => fn()),
    pause: () => undefined,
    resume: () => undefined,
    end: () => undefined,
    destroy: () => web.terminate(),
    dispose: () => web.terminate(),
  };
}

async function told(check: () => boolean): Promise<void> {
  for (const until = Date.now() + 5000; !check() && Date.now() < until;)
    await new Promise(resolve => setTimeout(resolve, 5));
  expect(check()).toBe(true);
}

async function post(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  sockets.add(socket);
  socket.write(text);
  let answer = '';
  socket.on('data', data => (answer += data.toString()));
  socket.on('error', () => undefined);
  await new Promise(resolve => socket.once('close', resolve));
  return answer.split('\r\n')[0];
}

test.each([[[] as string[], false] as const, [['binary'], true] as const])(
  'a viewer in a browser: subprotocols %p, bytes cut %p',
  async (protocols, cut) => {
    const joined: VncPeer[] = [];
    const port = await serve();
    events.on('VNC_INITIALIZED', ({ server: at, client }) => void joined.push(at, client));
    const web = await open(port, [...protocols], `http://127.0.0.1:8080`);
    expect(web.protocol).toBe(protocols[0] ?? '');
    const viewer = new RfbClient(streamOf(web, cut));
    await viewer.open();
    await viewer.encodings(0);
    await viewer.request(false);
    await viewer.update();
    expect([viewer.width, viewer.height, viewer.pixels[7]]).toEqual([20, 10, 0x123456]);
    await viewer.key(0x61, true);
    await told(() => keys.length === 1);
    expect(joined).toEqual([
      expect.objectContaining({ service: String(port), websocket: true, auth: 'none' }),
      expect.objectContaining({ websocket: true }),
    ]);
    expect(server.clients).toHaveLength(1);
    web.close();
    await told(() => server.clients.length === 0);
  },
);

test('the password of VNC is asked for; a page of anywhere may know it', async () => {
  const port = await serve({ password: true });
  server.setPassword('geheim');
  const web = await open(port, [], 'http://elsewhere.example');
  const viewer = new RfbClient(streamOf(web));
  await viewer.open({ password: 'geheim' });
  expect(viewer.name).toBe('colo (vm)');
});

test('within TLS, where the server has certificates', async () => {
  const folder = makeX509(mkdtempSync(join(tmpdir(), 'colo-wss-')));
  const file = (name: string) => readFileSync(join(folder, `${name}.pem`));
  const [certificate, key, ca] = [file('server-cert'), file('server-key'), file('ca-cert')];
  rmSync(folder, { recursive: true });
  const credentials = { kind: 'x509', certificate, key, ca, verifyPeer: false } as const;
  const port = await serve({}, host.sockets.tls?.('server', credentials));
  await expect(open(port)).rejects.toThrow();
  const viewer = new RfbClient(streamOf(await open(port, [], undefined, ca)));
  await viewer.open();
  expect([viewer.name, server.webAuth]).toEqual(['colo (vm)', 'none']);
});

test('without a password a page of another host is refused', async () => {
  const port = await serve();
  await expect(open(port, [], 'http://elsewhere.example')).rejects.toThrow('403');
  await told(() => notes.length === 1);
  expect(notes[0]).toContain('a page of http://elsewhere.example is not let in');
  await open(port, [], 'http://127.0.0.1');
});

test.each([
  ['GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'HTTP/1.1 426 Upgrade Required'],
  ['RFB 003.008\n\r\n\r\n', 'HTTP/1.1 400 Bad Request'],
  [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 'HTTP/1.1 400 Bad Request'],
  [
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n',
    'HTTP/1.1 400 Bad Request',
  ],
])('what is no WebSocket: %#', async (text, answer) => {
  const port = await serve();
  expect(await post(port, text)).toBe(answer);
  await told(() => notes.length === 1);
  expect(notes[0]).toMatch(/^VNC: 127.0.0.1:[0-9]+: WebSocket of 127.0.0.1:/);
  const viewer = new RfbClient(streamOf(await open(port)));
  await viewer.open();
});

test('text, and a message without a bound, end that viewer', async () => {
  const port = await serve();
  const texts = await open(port);
  texts.on('error', () => undefined);
  texts.send('RFB 003.008\n');
  expect(await closed(texts)).toBe(1003);
  const long = await open(port);
  long.on('error', () => undefined);
  long.send(Buffer.alloc(2 << 20));
  expect([1006, 1009]).toContain(await closed(long));
  expect(server.clients).toEqual([]);
});

test('a port that is taken: the next display, if there may be another', async () => {
  const port = await serve();
  const first = server;
  const display = port - 5700;
  await serve({ display: display + 1, to: display + 50 });
  server.dispose();
  server = first;
  const ports = { host: '127.0.0.1', display: display + 100, to: undefined, websocket: port };
  const again = new VncServer({ ...first.spec, ...ports }, (first as never)['ports']);
  await expect(again.listen()).rejects.toThrow(`-vnc: `);
  again.dispose();
});
