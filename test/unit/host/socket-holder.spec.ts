/**
 * Goal: the other end of a connection counts as a process of this host only where it is held by
 * exactly that one. Method: real connections, direct, from another process, and through a tunnel.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NodeSockets } from '../../../src/host/node/sockets.js';
import type { Address, Stream } from '../../../src/host/ports.js';

const sockets = new NodeSockets();
const dir = mkdtempSync(join(tmpdir(), 'colo-holder-'));
const ends: (() => void)[] = [];
afterEach(() => ends.splice(0).forEach(end => end()));
afterAll(() => rmSync(dir, { recursive: true }));

async function accept(at: Address = { kind: 'tcp', host: '127.0.0.1', port: 0 }) {
  let tell: (stream: Stream) => void;
  const accepted = new Promise<Stream>(resolve => (tell = resolve));
  const listener = await sockets.listen(at, stream => tell(stream));
  ends.push(() => listener.dispose());
  return { address: listener.address, accepted };
}

async function connect(address: Address): Promise<Stream> {
  const stream = await sockets.connect(address, { timeoutMs: 5000 });
  ends.push(() => stream.dispose());
  return stream;
}

/** A process of its own that runs a script and says one line. */
async function run(script: string): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  ends.push(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, line: String(line).trim() };
}

const portOf = (address: Address) => (address.kind === 'tcp' ? address.port : 0);

test.each(['127.0.0.1', '::1'])('a connection over %s to this very process', async host => {
  const { address, accepted } = await accept({ kind: 'tcp', host, port: 0 });
  const near = await connect(address);
  const far = await accepted;
  expect(await far.heldBy!(near.holder!)).toBe(true);
  expect(await near.heldBy!(far.holder!)).toBe(true);
  const [boot, ...rest] = near.holder!.split(' ');
  const words = [
    `${boot.replace(/^./, c => (c === '0' ? '1' : '0'))} ${rest.join(' ')}`, // another host
    near.holder!.replace(/pid:\[\d+\]/, 'pid:[1]'), // another container
    near.holder!.replace(/ \d+ (\d+)$/, ' 1 $1'), // another process
    near.holder!.replace(/\d+$/, '0'), // its number had another process before
    'nonsense',
    '',
  ];
  for (const word of words) expect([word, await far.heldBy!(word)]).toEqual([word, false]);
  near.destroy();
  await new Promise(resolve => far.onEnd(resolve));
  expect(await far.heldBy!(near.holder!)).toBe(false);
});

test('a process that dials is its own, and no other', async () => {
  const { address, accepted } = await accept();
  const { line } = await run(`
    const fs = require('fs')
    const stat = fs.readFileSync('/proc/self/stat', 'latin1')
    const words = [fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
      fs.readlinkSync('/proc/self/ns/pid'), process.pid,
      stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]]
    require('net').connect(${portOf(address)}, '127.0.0.1', () => console.log(words.join(' ')))`);
  const far = await accepted;
  expect(await far.heldBy!(line)).toBe(true);
  expect(await far.heldBy!(far.holder!)).toBe(false);
});

test('a tunnel is not the process behind it', async () => {
  const { address, accepted } = await accept();
  const { line } = await run(`
    const net = require('net')
    const relay = net.createServer(near => {
      const far = net.connect(${portOf(address)}, '127.0.0.1')
      near.pipe(far).pipe(near)
    }).listen(0, '127.0.0.1', () => console.log(relay.address().port))`);
  const near = await connect({ kind: 'tcp', host: '127.0.0.1', port: Number(line) });
  const far = await accepted;
  expect(await far.heldBy!(near.holder!)).toBe(false);
});

test('a Unix socket has no entry, and needs none', async () => {
  const { address, accepted } = await accept({ kind: 'unix', path: join(dir, 'socket') });
  const near = await connect(address);
  const far = await accepted;
  expect([far.local, await far.heldBy!(near.holder!)]).toEqual([true, false]);
});
