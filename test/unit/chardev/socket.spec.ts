/**
 * Goal: a socket channel gives every byte in order, one peer at a time, half-close included, and a
 * peer that is slow, rude or absent is an ordinary state. Method: real sockets of the host, the
 * peer is a stream of the test.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CharBackend, CharPorts, Stdio } from '../../../src/chardev/contract.js';
import { createChardev } from '../../../src/chardev/create.js';
import { readChannel } from '../../../src/vm/objects/chardevs.js';
import { noCredentials } from '../../../src/host/credentials.js';
import { NodeClock } from '../../../src/host/node/clock.js';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Files, Stream } from '../../../src/host/ports.js';

const sockets = new NodeSockets();
const clock = new NodeClock();
const dir = mkdtempSync(join(tmpdir(), 'colo-chardev-'));
const path = join(dir, 's');
const opened: { dispose(): void }[] = [];
const log: string[] = [];
const world: CharPorts = {
  sockets,
  clock,
  files: {} as Files,
  stdio: {} as Stdio,
  credentials: noCredentials,
  log: line => log.push(line),
};

afterEach(() => {
  for (const item of opened.splice(0)) item.dispose();
  log.length = 0;
});
afterAll(() => rmSync(dir, { recursive: true }));

/** A front end that writes down what happens. */
class FrontEnd {
  input = '';
  events: string[] = [];

  constructor(
    readonly chr: CharBackend,
    keepHalfClosed = false,
  ) {
    chr.onData(bytes => (this.input += Buffer.from(bytes).toString()));
    chr.onEvent(event => this.events.push(event));
    if (keepHalfClosed) chr.onInputEnd(() => this.events.push('input-end'));
  }
}

async function open(text: string): Promise<CharBackend> {
  const chr = await createChardev('c0', readChannel(text, 'lines'), world);
  opened.push(chr);
  return chr;
}

async function dial(): Promise<{ stream: Stream; seen: { text: string; ended: boolean } }> {
  const stream = await sockets.connect({ kind: 'unix', path }, { timeoutMs: 2000 });
  opened.push(stream);
  const seen = { text: '', ended: false };
  stream.onData(bytes => (seen.text += Buffer.from(bytes).toString()));
  stream.onEnd(() => (seen.ended = true));
  return { stream, seen };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('not reached');
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}

test('both directions; bytes that come before the front end are kept', async () => {
  const chr = await open(`unix:${path},server=on,wait=off`);
  expect(chr.write(Buffer.from('nobody hears this'))).toBe(true);
  const { stream, seen } = await dial();
  await stream.write(Buffer.from('early '));
  await until(() => chr.connected);
  const front = new FrontEnd(chr);
  await stream.write(Buffer.from('late'));
  await until(() => front.input === 'early late');
  expect(front.events).toEqual(['opened']);
  chr.write(Buffer.from('answer'));
  await until(() => seen.text === 'answer');
});

test('half-close: without a front end that asks, the channel hangs up', async () => {
  const front = new FrontEnd(await open(`unix:${path},server=on,wait=off`));
  const { stream, seen } = await dial();
  await stream.write(Buffer.from('x'));
  stream.end();
  await until(() => seen.ended);
  await until(() => front.events.length === 2);
  expect(front).toMatchObject({ input: 'x', events: ['opened', 'closed'] });
});

test('half-close: a front end that asks still answers, then hangs up', async () => {
  const front = new FrontEnd(await open(`unix:${path},server=on,wait=off`), true);
  const { stream, seen } = await dial();
  stream.end();
  await until(() => front.events.includes('input-end'));
  front.chr.write(Buffer.from('last words'));
  front.chr.hangUp();
  await until(() => seen.ended && front.events.includes('closed'));
  expect(seen.text).toBe('last words');
});

test('the next peer waits until the first has gone', async () => {
  const front = new FrontEnd(await open(`unix:${path},server=on,wait=off`));
  const first = await dial();
  await until(() => front.chr.connected);
  const second = await dial();
  await second.stream.write(Buffer.from('two'));
  await first.stream.write(Buffer.from('one'));
  await until(() => front.input === 'one');
  first.stream.destroy();
  await until(() => front.input === 'onetwo');
  expect(front.events).toEqual(['opened', 'closed', 'opened']);
});

test('pause holds input back; resume delivers it', async () => {
  const front = new FrontEnd(await open(`unix:${path},server=on,wait=off`));
  const { stream } = await dial();
  await until(() => front.chr.connected);
  front.chr.pause();
  await stream.write(Buffer.from('held'));
  await new Promise(resolve => setTimeout(resolve, 30));
  expect(front.input).toBe('');
  front.chr.resume();
  await until(() => front.input === 'held');
});

test('a peer that does not read: write says no, and says when there is room again', async () => {
  const { chr } = new FrontEnd(await open(`unix:${path},server=on,wait=off`));
  const { stream, seen } = await dial();
  stream.pause();
  await until(() => chr.connected);
  const block = Buffer.alloc(64 << 10, 'x');
  let sent = 0;
  let room = false;
  chr.onRoom(() => (room = true));
  while (chr.write(block)) expect((sent += block.length)).toBeLessThan(16 << 20);
  expect(room).toBe(false);
  stream.resume();
  await until(() => room);
  await until(() => seen.text.length === sent);
});

test('hanging up on a peer that does not read is bounded in time', async () => {
  const front = new FrontEnd(await open(`unix:${path},server=on,wait=off`));
  const { stream } = await dial();
  stream.pause();
  await until(() => front.chr.connected);
  while (front.chr.write(Buffer.alloc(64 << 10)));
  front.chr.hangUp();
  await until(() => front.events.includes('closed'));
});

test('wait=on: not ready before the first peer', async () => {
  let ready = false;
  const opening = open(`unix:${path},server=on`).then(() => (ready = true));
  await until(() => log.length > 0);
  expect(log).toEqual([`waiting for a connection on unix:${path},server=on`]);
  await new Promise(resolve => setTimeout(resolve, 20));
  expect(ready).toBe(false);
  await dial();
  await opening;
});

test('a client connects again when the option asks for it', async () => {
  const client = await open(`unix:${path},reconnect-ms=10`);
  const front = new FrontEnd(client);
  const server = await open(`unix:${path},server=on,wait=off`);
  await until(() => client.connected);
  server.dispose();
  await until(() => front.events.includes('closed'));
  const again = await open(`unix:${path},server=on,wait=off`);
  await until(() => client.connected && again.connected);
  expect(front.events).toEqual(['opened', 'closed', 'opened']);
});

test('a client without reconnect fails aloud', async () => {
  await expect(open(`unix:${join(dir, 'nobody')}`)).rejects.toThrow(
    /^unix:.*nobody: Failed to connect to/,
  );
});

test('what a peer sent before it left is delivered, even if it read nothing', async () => {
  const chr = await open(`unix:${path},server=on,wait=off`);
  const front = { input: '', events: [] as string[] };
  chr.onData(bytes => (front.input += Buffer.from(bytes).toString()));
  chr.onInputEnd(() => {
    front.events.push('input-end');
    chr.write(Buffer.from('an answer that nobody reads'));
    chr.hangUp();
  });
  chr.onEvent(event => {
    front.events.push(event);
    // So long a one is not kept for the end of this turn: it fails before anything is read.
    if (event === 'opened') expect(chr.write(Buffer.alloc(64 << 10, 'hello'))).toBe(true);
  });
  // This process stands still meanwhile: the peer has left when its connection is accepted.
  const sends =
    `const s = require('net').connect(process.argv[1], () => s.write('quit\\n', () => ` +
    's.destroy()))';
  execFileSync(process.execPath, ['-e', sends, path], {
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  await until(() => front.events.includes('closed'));
  expect(front).toEqual({ input: 'quit\n', events: ['opened', 'input-end', 'closed'] });
});

test('a port that the host chose is in the label', async () => {
  const chr = await open('tcp:127.0.0.1:0,server=on,wait=off');
  expect(chr.label).toMatch(/^tcp:127\.0\.0\.1:[1-9][0-9]*,server=on$/);
  const mux = await createChardev(
    'c1',
    { kind: 'mux', base: readChannel('tcp::0,server=on,wait=off', 'lines') },
    world,
  );
  opened.push(mux);
  expect(mux.label).toMatch(/^mux,tcp::[1-9][0-9]*,server=on$/);
});
