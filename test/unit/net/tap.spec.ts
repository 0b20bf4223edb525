/**
 * Goal: frames pass a tap netdev in both directions under back-pressure, a stopped VM receives
 * nothing, announcements look as they must.
 */
import type { NetFilter, NicPort, FilterVerdict } from '../../../src/net/contract.js';
import { FilterChain } from '../../../src/net/filter/chain.js';
import { TapNetdev } from '../../../src/net/netdev/tap.js';
import { Announcer } from '../../../src/net/packet/announce.js';
import { rarpAnnounce } from '../../../src/net/packet/ethernet.js';
import { SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';

function setup() {
  const world = new World(1);
  const tap = {
    room: true,
    out: [] as Uint8Array[],
    paused: false,
    frame: (_: Uint8Array) => undefined as void,
  };
  const netdev = new TapNetdev(
    'hn0',
    {
      ifname: 'tap7',
      onFrame: fn => void (tap.frame = fn),
      write: f => tap.room && tap.out.push(Buffer.from(f)) > 0,
      pause: () => void (tap.paused = true),
      resume: () => void (tap.paused = false),
      dispose: () => undefined,
    },
    new SimNode('n', world).clock,
  );
  const nic = { room: true, got: [] as number[], announced: 0, rooms: 0 };
  const port: NicPort = {
    mac: new Uint8Array([0x52, 0x54, 0, 1, 2, 3]),
    receive: f => nic.room && nic.got.push(f[0]) > 0,
    announce: () => void nic.announced++,
  };
  netdev.attachNic(port);
  netdev.onRoom(() => void nic.rooms++);
  return { world, tap, netdev, nic };
}
const frame = (n: number) => Buffer.alloc(60, n);

it('gives frames to the guest only while it runs and takes them', () => {
  const { tap, netdev, nic } = setup();
  expect(tap.paused).toBe(true);
  tap.frame(frame(1));
  expect(nic.got).toEqual([]);
  netdev.setRunning(true);
  expect(nic.got).toEqual([1]);
  expect(tap.paused).toBe(false);
  nic.room = false;
  tap.frame(frame(2));
  tap.frame(frame(3));
  expect(tap.paused).toBe(true);
  nic.room = true;
  netdev.nicReady();
  expect(nic.got).toEqual([1, 2, 3]);
  expect(tap.paused).toBe(false);
});

it('keeps no more than its queue when the tap does not obey', () => {
  const { tap, netdev, nic } = setup();
  for (let i = 0; i < 2000; i++) tap.frame(frame(i % 256));
  netdev.setRunning(true);
  expect(nic.got.length).toBe(256);
});

it('refuses output that the kernel does not take, and says when it may be tried again', async () => {
  const { world, tap, netdev, nic } = setup();
  tap.room = false;
  expect(netdev.send(frame(1))).toBe(false);
  tap.room = true;
  await world.run(10);
  expect(nic.rooms).toBe(1);
  expect(netdev.send(frame(1))).toBe(true);
  expect(tap.out.length).toBe(1);
});

it('sends released frames by itself after the kernel was busy', async () => {
  const { world, tap, netdev } = setup();
  netdev.outputHold.hold(() => true);
  netdev.send(frame(1));
  netdev.send(frame(2));
  netdev.outputHold.cut(1);
  tap.room = false;
  netdev.outputHold.release(1);
  tap.room = true;
  await world.run(10);
  expect(tap.out.map(f => f[0])).toEqual([1, 2]);
});

it('drops both ways with the link down', () => {
  const { tap, netdev, nic } = setup();
  netdev.setRunning(true);
  netdev.setLink(false);
  expect(netdev.send(frame(1))).toBe(true);
  tap.frame(frame(2));
  expect([tap.out.length, nic.got.length]).toEqual([0, 0]);
  expect(netdev.info()).toMatchObject({
    link: 'down',
    mac: '52:54:00:01:02:03',
    properties: { ifname: 'tap7' },
    filters: [{ name: 'nop', type: 'filter-buffer', direction: 'rx', status: 'off' }],
  });
});

it('announces past the filters, and has the guest do it too', () => {
  const { tap, netdev, nic } = setup();
  netdev.announce();
  expect([tap.out.length, nic.announced]).toEqual([1, 1]);
});

it.each(['held', 'lost'])(
  'a side whose output is %s announces nothing, and copies nothing',
  how => {
    const { tap, netdev, nic } = setup();
    let open = true;
    netdev.outputHold.hold(() => open);
    netdev.announce();
    expect([tap.out.length, nic.announced]).toEqual([1, 1]);
    const copies: number[] = [];
    netdev.outputHold.emit(frame(1), copy => copies.push(copy.length));
    netdev.outputHold.cut(1);
    if (how === 'held') open = false;
    else netdev.outputHold.drop();
    netdev.outputHold.release(1);
    netdev.announce();
    netdev.outputHold.emit(frame(2), copy => copies.push(copy.length));
    expect([tap.out.length, nic.announced, copies]).toEqual([1, 1, []]);
  },
);

it('makes a RARP request with the guest address', () => {
  const packet = rarpAnnounce(new Uint8Array([0x52, 0x54, 0, 1, 2, 3]));
  expect(packet.toString('hex')).toBe(
    'ffffffffffff' +
      '525400010203' +
      '8035' +
      '0001' +
      '0800' +
      '0604' +
      '0003' +
      '525400010203' +
      '00000000' +
      '525400010203' +
      '00000000' +
      '00'.repeat(18),
  );
});

it('announces five times, further and further apart', async () => {
  const world = new World(1);
  const at: number[] = [];
  const clock = {
    nowMs: () => world.now,
    bootMs: () => 0,
    wallMs: () => 0,
    timer: (ms: number, fn: () => void) => (world.after(ms, fn), { dispose: () => undefined }),
  };
  new Announcer(clock).start(() => at.push(world.now));
  await world.run(5000);
  expect(at).toEqual([0, 50, 200, 450, 800]);
});

describe('filter chain', () => {
  const seen: string[] = [];
  const filter = (
    name: string,
    direction: NetFilter['direction'],
    verdict: FilterVerdict = 'pass',
    on = true,
  ): NetFilter => ({
    name,
    direction,
    on,
    take: () => (seen.push(name), verdict),
    info: () => ({ name, type: 'test', direction, status: on ? 'on' : 'off', properties: {} }),
  });
  const chain = () =>
    new FilterChain({
      toWorld: () => seen.push('world') > 0,
      toGuest: () => seen.push('guest') > 0,
      emit: () => true,
      room: () => undefined,
    });
  beforeEach(() => void (seen.length = 0));

  it('goes from tail to head for guest output, and back for input', () => {
    const c = chain();
    c.insert(filter('head', 'all'), 'head');
    c.insert(filter('out', 'rx'), 'tail');
    c.insert(filter('in', 'tx'), 'tail');
    c.insert(filter('off', 'all', 'stolen', false), 'tail');
    c.insert(filter('tail', 'all'), 'tail');
    c.send(frame(1), 'rx');
    c.send(frame(1), 'tx');
    expect(seen).toEqual(['tail', 'out', 'head', 'world', 'head', 'in', 'tail', 'guest']);
  });

  it('stops at a filter that steals, and continues behind it when it forwards', () => {
    const c = chain();
    const thief = filter('thief', 'rx', 'stolen');
    c.insert(filter('front', 'rx'), 'tail');
    const port = c.insert(thief, 'tail');
    expect(c.send(frame(1), 'rx')).toBe(true);
    port.forward(frame(1), 'rx');
    expect(seen).toEqual(['thief', 'front', 'world']);
  });

  it('tells the sender when a filter is full', () => {
    const c = chain();
    c.insert(filter('full', 'rx', 'full'), 'tail');
    expect(c.send(frame(1), 'rx')).toBe(false);
  });
});
