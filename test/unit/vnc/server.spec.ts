/**
 * Goal: every viewer sees what the card shows, in each encoding, however its bytes are cut; keys
 * and pointers reach the guest; a slow viewer costs the others nothing, and one that says nonsense
 * is sent away alone. Method: the server over connections in memory, a viewer of the tests' own, a
 * screen that the test paints.
 */
import { Events } from '../../../src/base/events.js';
import { newSurface, type Painter, type Rect } from '../../../src/hw/display/surface.js';
import { InputRouter, type PointerChange } from '../../../src/hw/input/router.js';
import type { QmpEvents } from '../../../src/qapi/types.js';
import { vncResponse } from '../../../src/vnc/security.js';
import { VncServer, type VncSpec } from '../../../src/vnc/server.js';
import { Encoding } from '../../../src/vnc/viewer.js';
import { type Cutter, LoopSockets } from '../../support/block-host.js';
import { settle } from '../../support/device-bench.js';
import { Random } from '../../support/random.js';
import { RfbClient } from '../../support/rfb-client.js';

/** Timers fire when the test says so. */
class Clock {
  private timers = new Set<{ at: number; fn: () => void }>();
  now = 0;
  nowMs = () => this.now;
  bootMs = () => this.now;
  wallMs = () => this.now;
  timer(ms: number, fn: () => void) {
    const timer = { at: this.now + ms, fn };
    this.timers.add(timer);
    return { dispose: () => void this.timers.delete(timer) };
  }
  async pass(ms: number): Promise<void> {
    this.now += ms;
    for (const timer of [...this.timers])
      if (timer.at <= this.now && this.timers.delete(timer)) timer.fn();
    await settle();
  }
  get armed(): number {
    return this.timers.size;
  }
}

class Screen {
  surface = newSurface(200, 100);
  private changed: Rect[] = [];
  painted = 0;

  resize(width: number, height: number): void {
    this.surface = newSurface(width, height);
    this.changed = [{ x: 0, y: 0, width, height }];
  }
  fill(rect: Rect, color: (x: number, y: number) => number): void {
    for (let y = rect.y; y < rect.y + rect.height; y++)
      for (let x = rect.x; x < rect.x + rect.width; x++)
        this.surface.pixels[y * this.surface.width + x] = color(x, y);
    this.changed.push(rect);
  }
  paint(_painter: Painter) {
    this.painted++;
    const { changed } = this;
    this.changed = [];
    return { surface: this.surface, changed };
  }
}

async function serving({ cut, ...given }: Partial<VncSpec> & { cut?: Cutter } = {}) {
  const sockets = new LoopSockets(cut);
  const clock = new Clock();
  const screen = new Screen();
  const events = new Events<QmpEvents>();
  const told: string[] = [];
  for (const name of ['VNC_CONNECTED', 'VNC_INITIALIZED', 'VNC_DISCONNECTED'] as const)
    events.on(name, e => void told.push(`${name} ${e.server.service} ${String(e.server.auth)}`));
  const input = new InputRouter({ running: true }, clock);
  const keys: string[] = [];
  const moves: PointerChange[] = [];
  input.addKeyboard({ ready: true, key: (code, down) => void keys.push(`${code} ${down}`) });
  const mouse = { ready: true, absolute: false, move: (m: PointerChange) => void moves.push(m) };
  input.addPointer(mouse);
  const notes: string[] = [];
  const secondary = { is: false };
  const server = new VncServer(
    { host: '127.0.0.1', display: 7, password: false, ...given },
    {
      clock,
      sockets,
      entropy: { fill: b => b.fill(0x5a) },
      events,
      name: 'vm',
      input,
      display: screen,
      tls: undefined,
      takesInput: () => !secondary.is,
      note: line => void notes.push(line),
    },
  );
  await server.listen();
  const viewer = async () =>
    new RfbClient(await sockets.connect({ kind: 'tcp', host: '127.0.0.1', port: 5907 }));
  return {
    sockets,
    clock,
    screen,
    told,
    input,
    keys,
    moves,
    mouse,
    notes,
    secondary,
    server,
    viewer,
  };
}
type Serving = Awaited<ReturnType<typeof serving>>;

const same = (it: Serving, viewer: RfbClient) =>
  Buffer.compare(Buffer.from(viewer.pixels.buffer), Buffer.from(it.screen.surface.pixels.buffer));

/** Waits for the next update. */
async function next(it: Serving, viewer: RfbClient, incremental = true): Promise<void> {
  await viewer.request(incremental);
  const drawn = viewer.update();
  await settle();
  await it.clock.pass(300);
  await drawn;
}

const bytewise: Cutter = data => Array.from(data, byte => Buffer.of(byte));

describe.each(Object.entries({ raw: 0, hextile: 5, zlib: 6, zrle: 16 }))(
  '%s',
  (_name, encoding) => {
    test('a whole screen and its changes', async () => {
      const it = await serving();
      const random = new Random(3);
      it.screen.fill({ x: 0, y: 0, width: 200, height: 100 }, x => (x < 64 ? 0x123456 : 0xffffff));
      it.screen.fill({ x: 30, y: 20, width: 90, height: 40 }, (x, y) =>
        (x ^ y) & 1 ? 0xff : 0xff00,
      );
      it.screen.fill({ x: 120, y: 10, width: 33, height: 70 }, x => (x % 5) * 0x30_3030);
      it.screen.fill({ x: 3, y: 80, width: 99, height: 15 }, () => random.below(1 << 24));
      const viewer = await it.viewer();
      await viewer.open();
      expect([viewer.width, viewer.height, viewer.name]).toEqual([200, 100, 'colo (vm)']);
      await viewer.encodings(encoding);
      await next(it, viewer, false);
      expect(same(it, viewer)).toBe(0);
      it.screen.fill({ x: 17, y: 9, width: 40, height: 3 }, () => 0xabcdef);
      await next(it, viewer);
      expect(same(it, viewer)).toBe(0);
      expect(viewer.rects).toEqual([{ encoding, x: 17, y: 9, width: 40, height: 3 }]);
    });
  },
);

test.each(['003.003', '003.007', '003.008', '003.889'])(
  'version %s, a byte at a time',
  async version => {
    const it = await serving({ cut: bytewise, password: true });
    it.screen.surface = newSurface(20, 9);
    it.server.setPassword('geheim');
    const viewer = await it.viewer();
    await viewer.open({ version: version === '003.889' ? '003.008' : version, password: 'geheim' });
    await next(it, viewer, false);
    expect(same(it, viewer)).toBe(0);
    expect(it.told).toEqual(['VNC_CONNECTED 5907 vnc', 'VNC_INITIALIZED 5907 vnc']);
  },
);

test('the response to a challenge is DES with the bits of each byte turned round', () => {
  const challenge = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
  expect(vncResponse('', Buffer.alloc(16)).toString('hex')).toBe('8ca64de9c1b123a7'.repeat(2));
  expect(vncResponse('longer than eight', challenge)).toEqual(vncResponse('longer t', challenge));
});

test('nobody gets in with a wrong password, or before there is one', async () => {
  const it = await serving({ password: true });
  await expect((await it.viewer()).open({ password: '' })).rejects.toThrow('password is wrong');
  it.server.setPassword('right');
  await expect((await it.viewer()).open({ password: 'wrong' })).rejects.toThrow('is wrong');
  await settle();
  expect(it.notes).toEqual([
    'VNC: client: no password is set',
    'VNC: client: the password is wrong',
  ]);
  expect(it.server.clients).toEqual([]);
  expect(() => it.server.setPassword('123456789')).toThrow('8 characters');
  const open = await serving();
  expect(() => open.server.setPassword('x')).toThrow('without password=on');
});

test('a screen of another size is announced, or cut where the viewer does not know', async () => {
  const it = await serving();
  const [knows, cut] = [await it.viewer(), await it.viewer()];
  for (const viewer of [knows, cut]) await viewer.open();
  await knows.encodings(Encoding.RAW, Encoding.DESKTOP_SIZE);
  for (const viewer of [knows, cut]) await next(it, viewer, false);
  it.screen.resize(320, 50);
  it.screen.fill({ x: 0, y: 0, width: 320, height: 50 }, x => x);
  await next(it, knows);
  expect([knows.width, knows.height]).toEqual([320, 50]);
  expect(same(it, knows)).toBe(0);
  await next(it, cut);
  expect(cut.rects.map(({ width, height }) => [width, height])).toEqual([[200, 50]]);
});

test('keys by keysym and by raw code; a viewer that leaves holds none', async () => {
  const it = await serving();
  const viewer = await it.viewer();
  await viewer.open();
  await viewer.encodings(Encoding.RAW, Encoding.EXTENDED_KEY);
  await next(it, viewer, false);
  expect(viewer.announced).toEqual([[Encoding.EXTENDED_KEY, 0]]);
  await viewer.key(0x41, true); // A
  await viewer.key(0x41, false);
  await viewer.send(255, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xcb); // left, down
  await viewer.key(0xdeadbeef, true); // no key of ours
  await settle();
  expect(it.keys).toEqual(['30 true', '30 false', '203 true']);
  viewer.stream.destroy();
  await settle();
  expect(it.keys.at(-1)).toBe('203 false');
  expect(it.told.at(-1)).toBe('VNC_DISCONNECTED 5907 none');
});

test('the pointer, relative and absolute', async () => {
  const it = await serving();
  const viewer = await it.viewer();
  await viewer.open();
  await viewer.send(5, 0, 0, 10, 0, 20);
  await viewer.send(5, 1, 0, 13, 0, 18);
  await settle();
  expect(it.moves.at(-1)).toMatchObject({ dx: 3, dy: -2, buttons: 1 });
  await viewer.encodings(Encoding.RAW, Encoding.POINTER_MOTION);
  await next(it, viewer, false);
  expect(viewer.announced).toEqual([[Encoding.POINTER_MOTION, 0]]);
  await viewer.send(5, 0, 0x80, 0x04, 0x7f, 0xfd); // 5 to the right, 2 up
  await settle();
  expect(it.moves.at(-1)).toMatchObject({ dx: 5, dy: -2, buttons: 0 });
  it.mouse.absolute = true;
  await viewer.send(5, 0, 0, 199, 0, 0);
  await settle();
  expect(it.moves.at(-1)).toMatchObject({ x: 0x7fff, y: 0 });
});

test.each([false, true])(
  'a viewer that is dragging leaves: the guest sees the button released (motion %s)',
  async motion => {
    const it = await serving();
    const viewer = await it.viewer();
    await viewer.open();
    if (motion) await viewer.encodings(Encoding.RAW, Encoding.POINTER_MOTION);
    await next(it, viewer, false);
    await viewer.send(5, 1, 0x80, 0x04, 0x7f, 0xfd);
    await settle();
    expect(it.moves.at(-1)).toMatchObject({ buttons: 1 });
    viewer.stream.destroy();
    await settle();
    expect(it.moves.at(-1)).toMatchObject({ dx: 0, dy: 0, buttons: 0 });
  },
);

test('a screen that stood still is looked at soon after somebody moves', async () => {
  const it = await serving();
  const viewer = await it.viewer();
  await viewer.open();
  await next(it, viewer, false);
  await viewer.request(true);
  await settle();
  for (let n = 0; n < 10; n++) await it.clock.pass(250);
  await it.clock.pass(100);
  const { painted } = it.screen;
  await viewer.key(0x61, true);
  await settle();
  await it.clock.pass(1);
  expect(it.screen.painted).toBe(painted + 1);
  // And not more often than a screen that moves.
  await viewer.key(0x61, false);
  await settle();
  await it.clock.pass(1);
  expect(it.screen.painted).toBe(painted + 1);
});

test('a viewer that takes no picture any more is gone', async () => {
  const it = await serving();
  const viewer = await it.viewer();
  await viewer.open();
  await viewer.key(0x61, true);
  await settle();
  const [stream] = it.sockets.servers;
  stream.write = () => Promise.reject(new Error('broken pipe'));
  await viewer.request(false);
  await settle();
  await it.clock.pass(300);
  expect(it.server.clients).toEqual([]);
  expect(it.keys.at(-1)).toBe('30 false');
  expect(it.told.at(-1)).toBe('VNC_DISCONNECTED 5907 none');
});

test('a secondary shows its screen and takes nothing', async () => {
  const it = await serving();
  it.secondary.is = true;
  const viewer = await it.viewer();
  await viewer.open();
  await viewer.key(0x61, true);
  await viewer.send(5, 1, 0, 1, 0, 1);
  await next(it, viewer, false);
  expect(same(it, viewer)).toBe(0);
  expect([it.keys, it.moves]).toEqual([[], []]);
});

test('a viewer that does not read: one update is on its way, and the others see everything', async () => {
  const it = await serving();
  const [slow, quick] = [await it.viewer(), await it.viewer()];
  for (const viewer of [slow, quick]) await viewer.open();
  const stalled = it.sockets.servers[0];
  stalled.slow = { clock: it.clock, bytesPerMs: 0 };
  await slow.request(false);
  await settle();
  const before = stalled.sent;
  for (let n = 0; n < 50; n++) {
    await slow.request(false);
    it.screen.fill({ x: n, y: n, width: 10, height: 10 }, () => n);
    await next(it, quick);
  }
  expect(same(it, quick)).toBe(0);
  expect(stalled.sent).toBe(before);
});

test('nobody looks: nothing is painted, and no timer runs', async () => {
  const it = await serving();
  expect([it.screen.painted, it.clock.armed]).toEqual([0, 0]);
  const viewer = await it.viewer();
  await viewer.open();
  await next(it, viewer, false);
  viewer.stream.destroy();
  await settle();
  await it.clock.pass(1000);
  const { painted } = it.screen;
  await it.clock.pass(10_000);
  expect([it.screen.painted, it.clock.armed]).toEqual([painted, 0]);
});

test('who wants the screen for itself sends the others away', async () => {
  const it = await serving();
  const [first, second] = [await it.viewer(), await it.viewer()];
  await first.open();
  await second.open({ shared: 0 });
  await settle();
  expect(it.server.clients).toHaveLength(1);
  await expect(first.bytes.take(1)).rejects.toThrow('closed');
});

test.each([
  ['no RFB', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ['an unknown version', Buffer.from('RFB 009.00x\n')],
  ['a security type of its own', Buffer.from('RFB 003.008\n\x05')],
  ['an unknown message', Buffer.from('RFB 003.008\n\x01\x01\x99')],
  ['too many encodings', Buffer.from('RFB 003.008\n\x01\x01\x02\x00\xff\xff', 'latin1')],
  ['endless text', Buffer.from('RFB 003.008\n\x01\x01\x06\x00\x00\x00\x7f\xff\xff\xff', 'latin1')],
  [
    'a colour map',
    Buffer.concat([
      Buffer.from('RFB 003.008\n\x01\x01\0\0\0\0'),
      Buffer.from([8, 8]),
      Buffer.alloc(14),
    ]),
  ],
])('%s: sent away, and the others stay', async (_what, bytes) => {
  const it = await serving();
  const other = await it.viewer();
  await other.open();
  const stream = await it.sockets.connect({ kind: 'tcp', host: '127.0.0.1', port: 5907 });
  let ended = false;
  stream.onData(() => undefined);
  stream.onEnd(() => void (ended = true));
  await stream.write(bytes);
  await settle();
  expect(ended).toBe(true);
  await next(it, other, false);
  expect(same(it, other)).toBe(0);
});

test('a handshake that stands still ends, and so does a crowd', async () => {
  const it = await serving();
  for (let n = 0; n < 20; n++) await it.viewer();
  await settle();
  expect(it.told.filter(line => line.startsWith('VNC_CONNECTED'))).toHaveLength(16);
  await it.clock.pass(10_001);
  expect(it.told.filter(line => line.startsWith('VNC_DISCONNECTED'))).toHaveLength(16);
  const viewer = await it.viewer();
  await viewer.open();
  await settle();
  expect(it.server.clients).toHaveLength(1);
});

test('other pixel formats', async () => {
  const it = await serving();
  it.screen.fill({ x: 0, y: 0, width: 200, height: 100 }, () => 0xff8040);
  const viewer = await it.viewer();
  await viewer.open();
  const format = [16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
  await viewer.send(0, 0, 0, 0, ...format);
  await viewer.request(false);
  await settle();
  const head = Buffer.from(await viewer.bytes.take(16));
  expect([head.readUInt16BE(8), head.readUInt16BE(10)]).toEqual([200, 100]);
  const bytes = await viewer.bytes.take(200 * 100 * 2);
  expect(bytes.readUInt16BE(0)).toBe((31 << 11) | (32 << 5) | 8);
});

test('to=: the first free display', async () => {
  const it = await serving();
  const spec = { host: '127.0.0.1', display: 7, to: 9, password: false };
  const ports = (it.server as unknown as { ports: ConstructorParameters<typeof VncServer>[1] })
    .ports;
  const other = new VncServer(spec, ports);
  await other.listen();
  expect(other.address.service).toBe('5908');
  await expect(new VncServer({ ...spec, to: 8 }, ports).listen()).rejects.toThrow('-vnc');
});
