/**
 * Goal: a guest behind `-netdev user` reaches the host and is reached, what it sends is held and
 * bounded, and nothing is lost while it stands still. Method: the netdev over libslirp, a guest of
 * raw frames, and real sockets of this host.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { NodeClock } from '../../src/host/node/clock.js';
import { nodeUserNets } from '../../src/host/node/user-nets.js';
import { UserNetdev } from '../../src/net/netdev/user.js';
import { readNetdev } from '../../src/vm/objects/netdevs.js';
import {
  arpQuestion,
  FrameGuest,
  GUEST_MAC,
  HOST_IP,
  ipv4,
  isArpAnswer,
  tcp,
  Tcp,
  udp,
} from '../support/frame-guest.js';

const clock = new NodeClock();
const open: { dispose(): void }[] = [];
const sockets: Socket[] = [];
const servers: Server[] = [];
const notes: string[] = [];
afterEach(() => {
  open.splice(0).forEach(one => one.dispose());
  sockets.splice(0).forEach(socket => socket.destroy());
  servers.splice(0).forEach(server => server.close());
  notes.length = 0;
});
const later = (ms: number) => new Promise(resolve => setTimeout(resolve, ms));

function netdev(options = '', waits = false): UserNetdev {
  const spec = readNetdev(`user,id=hn0${options}`);
  if (spec.type !== 'user') throw new Error('no user netdev');
  const opened = UserNetdev.open(
    'hn0',
    { config: spec.config, forwards: spec.forwards, waits },
    { nets: nodeUserNets, clock, note: line => notes.push(line) },
  );
  open.push(opened);
  return opened;
}

function guest(options = ''): FrameGuest {
  const one = new FrameGuest(netdev(options));
  one.netdev.setRunning(true);
  return one;
}

/** On loopback, which the guest reaches by the host's address. */
async function server(onSocket: (socket: Socket) => void): Promise<number> {
  const one = createServer(socket => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  servers.push(one);
  one.listen(0, '127.0.0.1');
  await once(one, 'listening');
  return (one.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const one = createServer().listen(0, '127.0.0.1');
  await once(one, 'listening');
  const { port } = one.address() as AddressInfo;
  one.close();
  await once(one, 'close');
  return port;
}

function client(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

test('the host answers ARP, and DHCP gives the first address and the name', async () => {
  const g = guest(',net=10.0.2.0/24,hostname=web');
  g.send(arpQuestion(HOST_IP));
  const answer = await g.next('an answer', frame => isArpAnswer(frame) && frame);
  expect([...answer.subarray(28, 32)]).toEqual(HOST_IP);
  const discover = Buffer.alloc(300);
  discover.set([1, 1, 6]);
  discover.set(GUEST_MAC, 28);
  discover.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255], 236);
  g.send(udp(68, 67, [255, 255, 255, 255], discover));
  const offer = await g.next('an offer', frame => frame[23] === 17 && frame.subarray(42));
  expect([...offer.subarray(16, 20)]).toEqual([10, 0, 2, 15]);
  expect(offer.includes(Buffer.from([12, 3, ...Buffer.from('web')]))).toBe(true);
});

test('a guest connects to a server of the host, and both hear each other', async () => {
  const port = await server(socket =>
    socket.on('data', data => socket.end(data.toString().toUpperCase())),
  );
  const g = guest();
  g.send(tcp({ from: 5000, to: port, flags: Tcp.SYN, seq: 100 }));
  const { seq } = await g.segment(5000, Tcp.SYN | Tcp.ACK);
  const own = { from: 5000, to: port, seq: 101, ack: seq + 1 };
  g.send(tcp({ ...own, flags: Tcp.ACK | Tcp.PSH, data: Buffer.from('hello') }));
  expect(await g.next('an answer', frame => frame.includes('HELLO'))).toBe(true);
});

test('what COLO holds reaches nobody before its checkpoint', async () => {
  let connected = 0;
  const port = await server(() => connected++);
  const g = guest();
  g.send(arpQuestion(HOST_IP));
  await g.next('an answer', isArpAnswer);
  g.netdev.outputHold.hold(() => true);
  g.send(tcp({ from: 5000, to: port, flags: Tcp.SYN, seq: 100 }));
  await later(100);
  expect(connected).toBe(0);
  g.netdev.outputHold.cut(1);
  g.netdev.outputHold.release(1);
  await g.segment(5000, Tcp.SYN | Tcp.ACK);
  expect(connected).toBe(1);
});

test('a port of the host leads to the guest, and what comes waits for a guest that stands', async () => {
  const port = await freePort();
  const g = guest(`,hostfwd=tcp:127.0.0.1:${port}-:22`);
  const socket = client(port);
  const syn = await g.segment(22, Tcp.SYN);
  expect(g.netdev.forwards?.describe()).toMatch(
    new RegExp(`127\\.0\\.0\\.1 +${port} +10\\.0\\.2\\.15 +22`),
  );
  const own = { from: 22, to: syn.from, ack: syn.seq + 1 };
  g.send(tcp({ ...own, seq: 7, flags: Tcp.SYN | Tcp.ACK }));
  await g.segment(22, Tcp.ACK);
  g.netdev.setRunning(false);
  socket.write('ping');
  await later(300);
  expect(g.got).toEqual([]);
  g.netdev.setRunning(true);
  expect(await g.next('the ping', frame => frame.includes('ping'))).toBe(true);
  g.send(
    tcp({
      ...own,
      seq: 8,
      ack: syn.seq + 5,
      flags: Tcp.ACK | Tcp.PSH,
      data: Buffer.from('pong'),
    }),
  );
  const [data] = (await once(socket, 'data')) as [Buffer];
  expect(data.toString()).toBe('pong');
});

test('a forward comes and goes, and a port that is taken is a sentence', async () => {
  const g = guest();
  const taken = await server(() => undefined);
  const forward = {
    protocol: 'tcp' as const,
    host: '127.0.0.1',
    hostPort: taken,
    guest: '10.0.2.15',
    guestPort: 22,
  };
  const { forwards } = g.netdev;
  expect(() => forwards?.add(forward)).toThrow(
    `could not listen at tcp:127.0.0.1:${taken}: Address already in use`,
  );
  expect(() => netdev(`,hostfwd=tcp:127.0.0.1:${taken}-:22`)).toThrow('Address already in use');
  const datagrams = createSocket('udp4').bind(0, '127.0.0.1');
  await once(datagrams, 'listening');
  const udpPort = datagrams.address().port;
  expect(() => netdev(`,hostfwd=udp:127.0.0.1:${udpPort}-:53`)).toThrow('Address already in use');
  datagrams.close();

  const hostPort = await freePort();
  forwards?.add({ ...forward, hostPort });
  await once(client(hostPort), 'connect');
  expect(forwards?.remove({ ...forward, hostPort })).toBe(true);
  expect(forwards?.remove({ ...forward, hostPort })).toBe(false);
  const [error] = (await once(client(hostPort), 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNREFUSED');
});

test('a side that waits for its guest does not listen; one that has lost it stops', async () => {
  const port = await freePort();
  const waiting = new FrameGuest(netdev(`,hostfwd=tcp:127.0.0.1:${port}-:22`, true));
  expect(waiting.netdev.forwards?.describe()).toContain(`tcp:127.0.0.1:${port} to`);
  waiting.netdev.outputHold.hold(() => false);
  const here = guest(`,hostfwd=tcp:127.0.0.1:${port}-:22`);
  const old = client(port);
  await here.segment(22, Tcp.SYN);
  // The guest goes on there while the port is still taken here.
  waiting.netdev.outputHold.releaseAll();
  waiting.netdev.setRunning(true);
  const taken = `could not listen at tcp:127.0.0.1:${port}: Address already in use`;
  expect(notes).toEqual([`${taken}; it is tried again each second`]);
  here.netdev.outputHold.drop();
  await once(old, 'close');
  for (let n = 0; n < 200 && notes.length < 2; n++) await later(50);
  expect(notes[1]).toBe(`tcp:127.0.0.1:${port} leads to the guest now`);
  client(port);
  await waiting.segment(22, Tcp.SYN);
});

test('without room nothing is taken, and what was taken is not lost', async () => {
  const g = guest();
  g.netdev.setRunning(false);
  const question = arpQuestion(HOST_IP);
  let asked = 0;
  while (asked < 300_000 && g.netdev.send(question)) asked++;
  expect(asked).toBeGreaterThan(20_000);
  expect(asked).toBeLessThan(300_000);
  g.netdev.setRunning(true);
  let answered = 0;
  for (; answered < asked; answered++) await g.next(`answer ${answered} of ${asked}`, isArpAnswer);
  expect(g.netdev.info().properties['dropped']).toBe(0);
});

test('a guest opens so many sockets of the host, and no more', async () => {
  const g = guest();
  const sink = createSocket('udp4').bind(0, '127.0.0.1');
  await once(sink, 'listening');
  const files = () => readdirSync('/proc/self/fd').length;
  const before = files();
  for (let port = 1; port <= 6000; port++) {
    const frame = udp(port, sink.address().port, HOST_IP, Buffer.from('x'));
    while (!g.netdev.send(frame)) await later(2);
  }
  for (let n = 0; n < 2000 && Number(g.netdev.info().properties['dropped']) < 3900; n++)
    await later(10);
  const opened = files() - before;
  expect(opened).toBeGreaterThan(1000);
  expect(opened).toBeLessThan(2100);
  expect(Number(g.netdev.info().properties['dropped'])).toBe(6000 - opened);
  sink.close();
});

test('fragments that are never whole are not kept without end', async () => {
  const g = guest();
  for (let n = 0; n < 2000; n++) {
    const frame = ipv4(17, HOST_IP, Buffer.alloc(1480), 0x2000 | (n & 0xff));
    while (!g.netdev.send(frame)) await later(2);
  }
  g.send(arpQuestion(HOST_IP));
  await g.next('an answer', isArpAnswer);
  expect(Number(g.netdev.info().properties['dropped'])).toBeGreaterThan(500);
});
