/**
 * Goal: a primary that breaks the protocol costs the secondary its peer and nothing else: the state
 * it holds stays whole, and it can take over from it. Method: a scripted primary on a real link
 * against a real secondary, in virtual time.
 */
import type { ColoOptions } from '../../src/colo/options.js';
import { firstRecord } from '../../src/colo/record.js';
import { Link } from '../../src/migration/link.js';
import {
  CHUNK_PAGES_MAX,
  encodePageChunk,
  PAGE_BYTES,
  PageStaging,
} from '../../src/migration/pages.js';
import { type Message, codecOf, kindOf } from '../../src/colo/messages.js';
import type { ColoStep } from '../../src/colo/steps.js';
import { frameHead } from '../../src/migration/frames.js';
import { History } from './history.js';
import { SimNetwork } from '../support/sim/network.js';
import { SimMachineHost, SimNode } from '../support/sim/node.js';
import { World } from '../support/sim/world.js';
import { overlayImage, prepareImages } from './images.js';
import { simOptions, SimVm } from './vm.js';

/** Of the machine; those from filledPages on are zeroes, which cost nothing to send. */
const pageCount = 4096;
const filledPages = 24;

class Script {
  readonly world = new World(5);
  readonly network = new SimNetwork(this.world);
  readonly history = new History(this.world);
  side!: SimVm;
  readonly node = new SimNode('X', this.world);
  readonly errors: string[] = [];
  link!: Link<Message>;
  readonly steps: ColoStep[] = [];
  onStep: (step: ColoStep) => void = () => undefined;
  /** What each page is full of. */
  fill = 0x55;
  /** No pings. */
  silent = false;

  static async start(options: Partial<ColoOptions> = {}): Promise<Script> {
    const script = new Script();
    await script.build(options);
    return script;
  }

  private async build(options: Partial<ColoOptions>): Promise<void> {
    const { world, network, history } = this;
    const host = new SimMachineHost('S', world);
    const scenario = { seed: 5, misfortunes: [] };
    prepareImages(host.storage, scenario, { overlay: await overlayImage(), disks: 1 });
    const node = new SimNode('S', world, host);
    const shape = {
      disks: 1,
      nics: 1,
      overlays: 'memory',
      copies: false,
      bulky: false,
      noise: false,
    } as const;
    history.speaks = () => undefined;
    const onStep = (step: ColoStep) => {
      this.steps.push(step);
      this.onStep(step);
      if (step === 'takeover-network-open') this.taken = this.side.ram.hash();
    };
    const built = SimVm.build({ node, network, history, onStep, options }, 'secondary', shape);
    this.side = await world.play(built);
    this.side.events.on('COLO_EXIT', e => this.errors.push(e.error ?? ''));
    // It saves a state that it is to load itself.
    this.side.ram.beforeWrite = () => undefined;
  }

  /** Runs fn as the primary; time goes on meanwhile. */
  async play(fn: () => Promise<void>): Promise<void> {
    let done = false;
    const played = fn().finally(() => (done = true));
    played.catch(() => undefined);
    for (let i = 0; i < 400 && !done; i++) await this.world.run(this.world.now + 5);
    expect(done).toBe(true);
    await played;
    await this.world.run(this.world.now + 50);
  }

  async connect(): Promise<void> {
    await this.side.listenForPrimary();
    const stream = await this.network
      .sockets(this.node)
      .connect({ kind: 'tcp', host: 's', port: 8888 }, { timeoutMs: 100 });
    this.link = new Link(stream, this.node.clock, codecOf('primary'));
    this.link.urgent = m => m.type === 'pong';
    this.beat();
  }

  private beat(): void {
    if (!this.silent) this.link.post({ type: 'ping', seq: 1 });
    this.node.clock.timer(20, () => this.link.failed || this.beat());
  }

  async enter(): Promise<void> {
    await this.meet();
    for (const message of this.allPages()) await this.link.send(message);
    await this.link.send({ type: 'round-end' });
    await this.precopied();
  }

  allPages(): Message[] {
    return Array.from({ length: pageCount / CHUNK_PAGES_MAX }, (_, chunk) =>
      this.pages(
        ...Array.from({ length: CHUNK_PAGES_MAX }, (_, page) => chunk * CHUNK_PAGES_MAX + page),
      ),
    );
  }

  async meet(): Promise<void> {
    await this.connect();
    await this.link.send({
      type: 'hello',
      hello: { manifest: this.side.lifecycle.manifest(), colo: true, leaseMs: 80 },
    });
    await this.link.expect('accept');
    await this.link.send({
      type: 'record',
      record: firstRecord('0b4ff9f6-7a05-4d6f-9d0c-0d0c6c1f6a01', 'a'.repeat(32)),
    });
  }

  private async precopied(): Promise<void> {
    await this.link.send({ type: 'precopy-end' });
    await this.link.expect('checkpoint-ready');
    await this.epoch(1, [2, 3]);
    await this.link.expect('vmstate-received');
    await this.link.expect('vmstate-loaded');
    this.before = this.side.ram.hash();
  }
  before = 0n;
  /** RAM when the guest is about to run here. */
  taken = 0n;

  async request(): Promise<void> {
    await this.link.send({ type: 'checkpoint-request' });
    await this.link.expect('checkpoint-reply');
  }
  pages(...pages: number[]): Message {
    const staging = new PageStaging();
    const source = {
      ...this.side.ram,
      gather: (wanted: Uint32Array, out: Uint8Array) =>
        wanted.forEach((page, i) =>
          out.fill(page < filledPages ? this.fill : 0, i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
        ),
    };
    staging.fill(source as never, Uint32Array.from(pages));
    return {
      type: 'pages',
      body: encodePageChunk(kindOf('pages'), staging, 0, pages.length).subarray(frameHead(67)),
    };
  }
  info(epoch: number, pages: number, count = 0): Message {
    return {
      type: 'epoch',
      epoch,
      pages,
      writes: [{ disk: 'colo-disk0', count }],
      ramHashed: false,
      ramHash: 0n,
      guestOver: false,
    };
  }
  async epoch(epoch: number, pages: number[]): Promise<void> {
    await this.request();
    await this.content(epoch, [pages]);
  }
  /** Each list of pages in a chunk of its own. */
  async content(epoch: number, chunks: number[][]): Promise<void> {
    const blob = this.side.lifecycle.saveDevices();
    for (const m of [
      { type: 'vmstate-send' },
      ...chunks.map(pages => this.pages(...pages)),
      this.info(epoch, chunks.flat().length),
      { type: 'vmstate-size', size: blob.length },
      { type: 'blob', bytes: blob },
    ] as Message[])
      await this.link.send(m);
  }
}

const size = (n: number): Message => ({ type: 'vmstate-size', size: n });
const blob = (n: number): Message => ({ type: 'blob', bytes: Buffer.alloc(n) });
/** Page 3 as it was, with the sum of another one. */
const unlike = Buffer.from('0000000100000003000200000000' + '0123456789abcdef' + '0000', 'hex');
const send: Message = { type: 'vmstate-send' };

const bad: [string, (s: Script) => Message[], string][] = [
  [
    'pages before vmstate-send',
    s => [s.pages(1)],
    'unexpected message pages where vmstate-send must come',
  ],
  [
    'vmstate-send twice',
    () => [send, send],
    'unexpected message vmstate-send where pages or epoch must come',
  ],
  [
    'a request inside an epoch',
    () => [send, { type: 'checkpoint-request' }],
    'unexpected message checkpoint-request where pages or epoch must come',
  ],
  ['a page twice', s => [send, s.pages(4, 5), s.pages(5)], 'RAM page 5 after page 5'],
  [
    'a page beyond RAM',
    s => [send, s.pages(pageCount)],
    'RAM page 4096 lies beyond the 4096 pages of this machine',
  ],
  [
    'packed pages that are none',
    () => [send, { type: 'packed-pages', body: Buffer.from('00000001000000030002', 'hex') }],
    'packed RAM is cut off',
  ],
  [
    'a change of what is not here',
    () => [send, { type: 'packed-pages', body: unlike }],
    'packed RAM of 1 pages: page 3 is not what its change was made from',
  ],
  [
    'fewer pages than told',
    s => [send, s.pages(4), s.info(2, 2), size(200), blob(200)],
    'epoch 2 has 2 pages, 1 arrived',
  ],
  [
    'writes that did not arrive',
    s => [send, s.info(2, 0, 3), size(200), blob(200)],
    "disk 'colo-disk0', epoch 2: 3 writes were sent, 0 arrived",
  ],
  [
    'another disk',
    s => [
      send,
      { ...s.info(2, 0), writes: [{ disk: 'x', count: 0 }] } as Message,
      size(200),
      blob(200),
    ],
    "epoch 2 does not cover disk 'colo-disk0'",
  ],
  ['an old epoch', s => [send, s.info(1, 0), size(200), blob(200)], 'epoch 1 after epoch 1'],
  [
    'device state without end',
    s => [send, s.info(2, 0), size(2 ** 40)],
    'device state of 1099511627776 bytes, at most',
  ],
  [
    'more device state than told',
    s => [send, s.info(2, 0), size(200), blob(201)],
    'a piece of 201 bytes where 200 are left',
  ],
  [
    'an empty piece',
    s => [send, s.info(2, 0), size(200), blob(0)],
    'a piece of 0 bytes where 200 are left',
  ],
  [
    'device state that does not parse',
    s => [send, s.pages(4), s.info(2, 1), size(10), blob(10)],
    'device state: ',
  ],
  ['precopy again', () => [{ type: 'precopy-end' }], 'unexpected message precopy-end where'],
  [
    'hello again',
    s => [
      { type: 'hello', hello: { manifest: s.side.lifecycle.manifest(), colo: true, leaseMs: 80 } },
    ],
    'unexpected message hello where',
  ],
];

it.each(bad)('%s', async (_name, messages, sentence) => {
  const s = await Script.start();
  await s.play(() => s.enter());
  await s.play(async () => {
    await s.request();
    for (const message of messages(s)) s.link.post(message);
  });
  expect(s.errors).toEqual([expect.stringContaining(sentence)]);
  expect(s.side.ram.hash()).toBe(s.before);
  expect(s.side.colo.info().state).toBe('lost');
  expect(s.link.failed).toBeUndefined();
  s.link.destroy();
  await s.side.lostHeartbeat();
  await s.world.run(s.world.now + 100);
  expect(s.side.colo.info().state).toBe('completed');
  expect(s.side.running).toBe(true);
  expect(s.taken).toBe(s.before);
});

const end: Message = { type: 'precopy-end' };
const round: Message = { type: 'round-end' };
const partial: [string, (s: Script) => Message[], string][] = [
  ['no RAM at all', () => [end], 'unexpected message precopy-end where all of RAM must come'],
  ['an empty first round', () => [round], 'the first round has 0 of 4096 pages'],
  [
    'a first round with holes',
    s => [s.pages(1, 2, 5), round],
    'the first round has 3 of 4096 pages',
  ],
  [
    'a round that does not end',
    s => [...s.allPages(), round, s.pages(3), end],
    'unexpected message precopy-end where all of RAM must come',
  ],
  [
    'rounds without end',
    s => [...s.allPages(), ...Array.from({ length: 65 }, () => round)],
    'more than 64 rounds of RAM',
  ],
];

it.each(partial)('before the first checkpoint: %s', async (_name, messages, sentence) => {
  const s = await Script.start();
  await s.play(() => s.meet());
  await s.play(async () => {
    for (const message of messages(s)) s.link.post(message);
  });
  expect(s.side.colo.info()).toMatchObject({
    state: 'none',
    why: expect.stringContaining(sentence),
  });
});

it('takes strangers, garbage and other machines calmly, and waits on', async () => {
  const s = await Script.start();
  await s.side.listenForPrimary();
  const connect = () =>
    s.network.sockets(s.node).connect({ kind: 'tcp', host: 's', port: 8888 }, { timeoutMs: 100 });
  await s.play(async () => {
    await (await connect()).write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    for (let i = 0; i < 6; i++) await connect();
  });
  await s.world.run(s.world.now + 600);
  const answers: Message[] = [];
  await s.play(async () => {
    const link = new Link<Message>(await connect(), s.node.clock, codecOf('primary'));
    link.urgent = m => answers.push(m) > 0;
    await link.send({
      type: 'hello',
      hello: { manifest: { ...s.side.lifecycle.manifest(), cpus: 8 }, colo: true, leaseMs: 80 },
    });
  });
  expect(answers).toEqual([{ type: 'error', text: 'the primary has 8 CPUs, this secondary 1' }]);
  expect(s.side.colo.query().status).toBe('none');
  expect(s.errors).toEqual([]);
});

it('a second primary is sent away, and the guest output of this machine stays held', async () => {
  const s = await Script.start();
  await s.play(() => s.enter());
  const held = () => s.side.netdevs.map((_, nic) => s.side.holds(nic));
  expect(held()).toEqual([true]);
  const answers: Message[] = [];
  await s.play(async () => {
    const address = { kind: 'tcp', host: 's', port: 8888 } as const;
    const stream = await s.network.sockets(s.node).connect(address, { timeoutMs: 100 });
    const link = new Link<Message>(stream, s.node.clock, codecOf('primary'));
    link.urgent = m => answers.push(m) > 0;
    const manifest = s.side.lifecycle.manifest();
    await link.send({ type: 'hello', hello: { manifest, colo: true, leaseMs: 80 } });
  });
  expect(answers).toEqual([{ type: 'error', text: expect.any(String) }]);
  expect(held()).toEqual([true]);
});

it('answers pings at once, and nothing after it was told to take over', async () => {
  const s = await Script.start();
  await s.play(() => s.enter());
  const pongs: Message[] = [];
  const asked: Message[] = [];
  s.link.urgent = m => (m.type === 'pong' ? pongs : asked).push(m) > 0;
  await s.play(async () => s.link.post({ type: 'ping', seq: 77 }));
  expect(pongs.length).toBeGreaterThan(0);
  await s.side.lostHeartbeat();
  pongs.length = 0;
  await s.world.run(s.world.now + 50);
  expect(asked).toEqual([{ type: 'stop-request' }]);
  expect(pongs.length).toBeLessThan(2);
  pongs.length = 0;
  expect(s.side.colo.info().state).toBe('active');
  await s.world.run(s.world.now + 200);
  expect(pongs).toEqual([]);
  expect(s.side.colo.info().state).toBe('completed');
});

/** The copy of all pages takes three times as long as silence is borne. */
async function copying(pages: number): Promise<Script> {
  const copyBytesPerMs = (pageCount * PAGE_BYTES) / (3 * simOptions.loopLimitMs);
  const s = await Script.start({ copyBytesPerMs });
  await s.play(() => s.enter());
  await s.play(async () => {
    await s.request();
    if (pages > 0) await s.link.send({ type: 'copying', pages });
    s.silent = true;
  });
  return s;
}
const silence = (s: Script, ms: number) => s.world.run(s.world.now + ms);

it('a primary that said that it copies is waited for, and its epoch is loaded', async () => {
  const s = await copying(pageCount);
  await silence(s, 600);
  expect([s.errors, s.side.colo.info().state]).toEqual([[], 'protected']);
  s.silent = false;
  s.fill = 0x66;
  await s.play(async () => {
    await s.content(2, [[4, 5]]);
    await s.link.expect('vmstate-received');
    await s.link.expect('vmstate-loaded');
  });
  expect(s.side.ram.hash()).not.toBe(s.before);
  s.silent = true;
  await silence(s, 300);
  expect(s.errors).toEqual(['no sign of life from the peer for 200 ms']);
});

it.each([
  ['that said nothing', 0, 300, 'no sign of life from the peer for 200 ms'],
  ['that copies for too long', pageCount / 2, 600, 'no sign of life from the peer for 500 ms'],
  ['that copies more than there is', 4097, 0, 'a copy of 4097 pages, this machine has 4096'],
])('a primary %s is lost', async (_, pages, ms, sentence) => {
  const s = await copying(pages);
  await silence(s, ms);
  expect(s.errors).toEqual([sentence]);
});

const slices = [
  [4, 5, 6, 7, 8, 9, 10, 11],
  [12, 13, 14, 15, 16, 17, 18, 19],
];

it('a takeover that is ordered while RAM is loaded has all of it', async () => {
  const s = await Script.start();
  await s.play(() => s.enter());
  s.onStep = step => {
    if (step === 'secondary-half-applied')
      s.world.after(0, () => s.node.deliver('input', () => void s.side.lostHeartbeat()));
  };
  s.fill = 0x66;
  await s.play(async () => {
    await s.request();
    await s.content(2, slices);
    await s.link.expect('vmstate-received');
    s.link.destroy();
  });
  await s.world.run(s.world.now + 300);
  expect([s.side.colo.info().state, s.side.running]).toEqual(['completed', true]);
  expect(s.taken).not.toBe(s.before);
});

it('a secondary that ends while RAM is loaded leaves its devices and disks alone', async () => {
  const s = await Script.start();
  await s.play(() => s.enter());
  s.steps.length = 0;
  s.onStep = step => {
    if (step === 'secondary-half-applied') void s.side.colo.depart('its process ends');
  };
  await s.play(async () => {
    await s.request();
    await s.content(2, slices);
  });
  expect(s.steps).toContain('secondary-half-applied');
  expect(s.steps).not.toContain('secondary-devices-applied');
  expect(s.steps).not.toContain('secondary-disk-committed');
});
