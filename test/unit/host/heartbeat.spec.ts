/**
 * Goal: a process counts as alive while it is, whatever its main loop does for a while, and not
 * longer; strangers change nothing. Method: a connection of this host, signs of life beside it, and
 * a process at their other end that works, stands still, is stuck or is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Address, Heartbeat, Stream } from '../../../src/host/ports.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const key = Uint8Array.from({ length: 16 }, (_, n) => n);
const intervalMs = 20;
const idle = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));
/** Nothing else runs on this main loop. */
const block = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** What a test has opened ends with it. */
const ends: (() => void)[] = [];
afterEach(() => ends.splice(0).forEach(end => end()));
const until = async (reached: () => boolean) => {
  while (!reached()) await idle(5);
};

async function connection(at: Address = { kind: 'tcp', host: '127.0.0.1', port: 0 }) {
  const sockets = new NodeSockets();
  let tell: (stream: Stream) => void;
  const called = new Promise<Stream>(resolve => (tell = resolve));
  const listener = await sockets.listen(at, stream => tell(stream));
  const caller = await sockets.connect(listener.address, { timeoutMs: 5000 });
  const other = await called;
  ends.push(() => [caller, other, listener].forEach(one => one.dispose()));
  return { caller, called: other, address: listener.address };
}

function listen(stream: Stream, loopLimitMs = 60_000): Heartbeat {
  const heartbeat = stream.heartbeat!({ key, caller: false, intervalMs, loopLimitMs });
  ends.push(() => heartbeat.dispose());
  return heartbeat;
}

/** The other end, in a process that is told on its standard input what to do. */
function peer(port: number, loopLimitMs: number): ChildProcess & { tell(word: string): void } {
  const script = `
    const { host } = require('node-gyp-build')(${JSON.stringify(join(root, 'native'))})
    const key = Uint8Array.from({ length: 16 }, (_, n) => n)
    const beats = new host.Heartbeat('127.0.0.1', 0, 0, key, 1, ${intervalMs}, ${loopLimitMs})
    beats.aim('127.0.0.1', 0, ${port})
    setInterval(() => beats.turned(0), ${intervalMs})
    const words = {
      block: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500),
      stick: () => { for (;;); },
    }
    process.stdin.on('data', word => { words[String(word)](); console.log('done') })`;
  const child = spawn(process.execPath, ['-e', script], {
    cwd: root,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  ends.push(() => void child.kill('SIGKILL'));
  return Object.assign(child, { tell: (word: string) => void child.stdin.write(word) });
}

async function pair(loopLimitMs = 60_000) {
  const { called } = await connection();
  const here = listen(called);
  const child = peer(here.port, loopLimitMs);
  await until(() => here.silentMs !== undefined);
  return { here, child };
}

test('a main loop that stands still for a while, here or there, makes no side look dead', async () => {
  const { here, child } = await pair();
  const done = new Promise(resolve => child.stdout!.once('data', resolve));
  let most = 0;
  child.tell('block');
  const watch = setInterval(() => (most = Math.max(most, here.silentMs!)), 5);
  await done;
  clearInterval(watch);
  expect(most).toBeLessThan(1000);
  block(1500);
  expect(here.silentMs).toBeLessThan(1000);
});

test('one that is stuck is silent after the limit, and alive again when it turns', async () => {
  const { here, child } = await pair(300);
  const done = new Promise(resolve => child.stdout!.once('data', resolve));
  child.tell('block');
  await until(() => here.silentMs! >= 200);
  await done;
  await until(() => here.silentMs! === 0);
  child.tell('stick');
  await until(() => here.silentMs! >= 2000);
});

test('a process that is stopped is silent, and heard when it goes on; a killed one never', async () => {
  const { here, child } = await pair();
  child.kill('SIGSTOP');
  await until(() => here.silentMs! >= 500);
  child.kill('SIGCONT');
  await until(() => here.silentMs! === 0);
  child.kill('SIGKILL');
  await until(() => here.silentMs! >= 2000);
});

test('both ends hear each other, at the port of the connection', async () => {
  const { caller, called, address } = await connection();
  const there = listen(called);
  if (address.kind === 'tcp') expect(there.port).toBe(address.port);
  const here = caller.heartbeat!({ key, caller: true, intervalMs, loopLimitMs: 60_000 });
  ends.push(() => here.dispose());
  await idle(100);
  expect([here.silentMs, there.silentMs]).toEqual([undefined, undefined]); // it has no aim yet
  here.aim(there.port);
  await until(() => here.silentMs === 0 && there.silentMs === 0);
  // The port is taken now: the next one has another.
  expect(listen(called).port).not.toBe(there.port);
  there.dispose();
  there.dispose();
  await until(() => here.silentMs! >= 500);
});

test.each([
  ['tcp over IPv6', () => ({ kind: 'tcp', host: '::1', port: 0 }) as const],
  ['a Unix socket', directory => ({ kind: 'unix', path: join(directory, 'socket') }) as const],
] satisfies [string, (directory: string) => Address][])('signs beside %s', async (_, at) => {
  const directory = mkdtempSync(join(tmpdir(), 'colo-'));
  ends.push(() => rmSync(directory, { recursive: true }));
  const { caller, called } = await connection(at(directory));
  const there = listen(called);
  const here = caller.heartbeat!({ key, caller: true, intervalMs, loopLimitMs: 60_000 });
  ends.push(() => here.dispose());
  here.aim(there.port);
  await until(() => here.silentMs === 0 && there.silentMs === 0);
});

/** Everything that arrives at a port, and a way to say it again. */
async function eavesdrop() {
  const socket = createSocket('udp4');
  const heard: Buffer[] = [];
  socket.on('message', message => heard.push(message));
  await new Promise<void>(resolve => socket.bind(0, '127.0.0.1', resolve));
  ends.push(() => socket.close());
  const say = (bytes: Uint8Array, port: number) => socket.send(bytes, port, '127.0.0.1');
  return { heard, say, port: socket.address().port };
}

test('what a stranger says, says again or sends back is no sign of life', async () => {
  const { caller, called } = await connection();
  const ear = await eavesdrop();
  const there = listen(called);
  const here = caller.heartbeat!({ key, caller: true, intervalMs, loopLimitMs: 60_000 });
  ends.push(() => here.dispose());
  here.aim(ear.port);
  await until(() => ear.heard.length >= 5);
  const [first, , third] = ear.heard;
  const nothing = async (bytes: Uint8Array) => {
    const before = there.silentMs;
    const turns = 5;
    ear.say(bytes, there.port);
    await idle(turns * intervalMs);
    // Undefined it stays; silence goes on.
    if (before === undefined) expect(there.silentMs).toBeUndefined();
    else expect(there.silentMs).toBeGreaterThan(before);
  };
  for (let at = 0; at < first.length; at++) {
    const wrong = Buffer.from(first);
    wrong[at] ^= 1;
    ear.say(wrong, there.port);
  }
  await nothing(Buffer.alloc(0));
  await nothing(first.subarray(0, 23));
  await nothing(Buffer.concat([first, Buffer.alloc(1)]));
  await nothing(Buffer.alloc(24, 0xff));
  ear.say(third, there.port); // as its owner made it
  await until(() => there.silentMs !== undefined);
  await until(() => there.silentMs! > 0);
  await nothing(third);
  await nothing(first);
  await nothing(ear.heard.at(-1)!.subarray(0, 20));
  // What this end sends comes back to it.
  const own = ear.heard.length;
  await until(() => ear.heard.length > own + 2);
  const back = ear.heard.find(beat => !beat.subarray(0, 8).equals(first.subarray(0, 8)));
  expect(back).toBeDefined();
  await nothing(back!);
});

test('another key is a stranger', async () => {
  const { caller, called } = await connection();
  const there = listen(called);
  const wrong = Uint8Array.from(key);
  wrong[15] ^= 1;
  const options = { key: wrong, caller: true, intervalMs, loopLimitMs: 60_000 };
  const here = caller.heartbeat!(options);
  ends.push(() => here.dispose());
  here.aim(there.port);
  await idle(20 * intervalMs);
  expect(there.silentMs).toBeUndefined();
});

test('a flood of strangers drowns nobody for good', async () => {
  const { here } = await pair();
  const ear = await eavesdrop();
  for (let n = 0; n < 20_000; n++) ear.say(Buffer.alloc(24, n), here.port);
  await until(() => here.silentMs === 0);
});
