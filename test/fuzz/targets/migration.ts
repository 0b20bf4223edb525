/**
 * Both ends of a migration against a peer that breaks the protocol with right checksums, with COLO
 * and without: a real side in the simulation, and a stream that was spoiled. One sentence or
 * success comes of it; nothing throws, hangs or takes more memory than its limits allow; the
 * primary's guest goes on, and a secondary that holds nothing takes the next primary.
 */
import type { VmError } from '../../../src/base/errors.js';
import type { Stream } from '../../../src/host/ports.js';
import { History } from '../../sim/history.js';
import { overlayImage, prepareImages } from '../../sim/images.js';
import { ports, type Role } from '../../sim/command-line.js';
import { SimVm } from '../../sim/vm.js';
import { SimNetwork } from '../../support/sim/network.js';
import { SimMachineHost, SimNode } from '../../support/sim/node.js';
import { World } from '../../support/sim/world.js';
import type { Random } from '../../support/random.js';
import type { FuzzTarget } from '../target.js';
import { type Frame, type Mode, recorded, spoiled, wire } from './migration-stream.js';

const blobBytesMax = 64 * 1024;
/** One buffer, at most: a batch of pages, the device state, the staging area. */
const bufferBytesMax = 5 * 1024 * 1024;
/** Longer than any wait of a side. */
const settleMs = 2500;

const ours = new RegExp(
  'internal error|is not (a function|iterable)|Cannot (read|convert|mix)|must be of type|' +
    'Invalid (array|typed)|out of (range|bounds)',
);

class Duel {
  private readonly network: SimNetwork;
  private readonly peer: SimNode;
  readonly reports: string[] = [];
  readonly loaded: string[] = [];
  vm!: SimVm;

  private constructor(
    readonly world: World,
    readonly mode: Mode,
  ) {
    this.network = new SimNetwork(world);
    this.peer = new SimNode('X', world);
  }

  static async start(random: Random, role: Role, mode: Mode, disks: number): Promise<Duel> {
    const duel = new Duel(new World(random.below(2 ** 32)), mode);
    await duel.build(role, disks);
    return duel;
  }

  private async build(role: Role, disks: number): Promise<void> {
    const { world, network, mode } = this;
    const host = new SimMachineHost(role === 'primary' ? 'P' : 'S', world);
    prepareImages(
      host.storage,
      { seed: 1, misfortunes: [] },
      { overlay: await overlayImage(), disks },
    );
    const node = new SimNode(host.name, world, host);
    const history = new History(world);
    history.speaks = () => undefined;
    const shape = {
      disks,
      nics: 1,
      overlays: 'memory',
      copies: false,
      bulky: false,
      noise: false,
    } as const;
    const onStep = (step: string) => step === 'secondary-committed' && this.loaded.push(step);
    const options = { verifyRam: false, blobBytesMax, idleTimeoutMs: 400 };
    const built = SimVm.build({ node, network, history, onStep, options }, role, shape);
    this.vm = await world.play(built);
    await this.vm.useColo(mode === 'colo');
  }

  /** The peer connects, and says this. */
  async call(bytes: Buffer, random: Random): Promise<void> {
    const address = { kind: 'tcp', host: 's', port: ports.migration } as const;
    const connected = this.network.sockets(this.peer).connect(address, { timeoutMs: 100 });
    this.say(await this.world.play(connected), bytes, random);
    await this.world.run(this.world.now + settleMs);
  }

  /** The peer is called, and says this whatever it hears. */
  async beCalled(bytes: Buffer, random: Random): Promise<void> {
    const address = { kind: 'tcp', host: '0', port: ports.migration } as const;
    const listening = this.network
      .sockets(this.peer)
      .listen(address, stream => this.say(stream, bytes, random));
    await this.world.play(listening);
    await this.vm.migrate(`tcp:x:${ports.migration}`);
    await this.world.run(this.world.now + settleMs);
  }

  private say(stream: Stream, bytes: Buffer, random: Random): void {
    const deaf = random.chance(0.1);
    stream.onData(() => undefined);
    if (deaf) stream.pause();
    stream.onEnd(() => undefined);
    const end = random.below(3);
    const all = random.chance(0.3);
    const next = (from: number) => {
      const to = all ? bytes.length : from + 1 + random.below(8000);
      stream.write(bytes.subarray(from, to)).catch(() => undefined);
      if (to < bytes.length) return void this.world.after(random.between(0, 2), () => next(to));
      if (end === 0) stream.end();
      if (end === 1) this.world.after(30, () => stream.destroy());
    };
    next(0);
  }

  /** What went wrong is told in our words, not in those of JavaScript. */
  checkWords(): void {
    const text = `${this.vm.colo.info().why} ${this.vm.colo.query().error} ${this.vm.exits.join()}`;
    if (ours.test(text)) this.fail('a mistake of ours');
  }

  fail(what: string): never {
    const { colo } = this.vm;
    const { state, why } = colo.info();
    throw new Error(
      `${what}: ${state}, ${why ?? 'no reason'}, ${colo.query().status}, ` +
        this.world.log.slice(-12).join('\n'),
    );
  }
}

/** Runs fn; whatever goes wrong beside it is found, too. */
async function watched(fn: () => Promise<void>): Promise<void> {
  const unheard: unknown[] = [];
  const listener = (reason: unknown) => unheard.push(reason);
  process.on('unhandledRejection', listener);
  const { allocUnsafe, allocUnsafeSlow } = Buffer;
  let largest = 0;
  const count = (make: typeof allocUnsafe) => (size: number) => {
    largest = Math.max(largest, size);
    return make(size);
  };
  Object.assign(Buffer, {
    allocUnsafe: count(allocUnsafe),
    allocUnsafeSlow: count(allocUnsafeSlow),
  });
  try {
    await fn();
    await new Promise(resolve => setImmediate(resolve));
  } finally {
    Object.assign(Buffer, { allocUnsafe, allocUnsafeSlow });
    process.off('unhandledRejection', listener);
  }
  if (unheard.length > 0) throw new Error('a mistake of ours', { cause: unheard[0] });
  if (largest > bufferBytesMax) throw new Error(`a buffer of ${largest} bytes`);
}

const settledIncoming: Record<Mode, readonly string[]> = {
  colo: ['none', 'lost', 'yielded', 'ended'],
  plain: ['none'],
};

async function attackIncoming(random: Random): Promise<void> {
  const mode = random.pick<Mode>(['colo', 'colo', 'plain']);
  const disks = mode === 'plain' ? 0 : random.pick([0, 0, 1]);
  const good = (await recorded(mode, disks)).P;
  await watched(async () => {
    const duel = await Duel.start(random, 'secondary', mode, disks);
    await duel.vm.listenForPrimary();
    await duel.call(wire(spoiled(good, mode, random)), random);
    duel.checkWords();
    const { colo, running } = duel.vm;
    const { state, why } = colo.info();
    if (!settledIncoming[mode].includes(state)) duel.fail('the secondary is not through');
    const { status } = colo.query();
    if (running !== (mode === 'plain' && status === 'completed')) duel.fail('its guest runs');
    if (running || state !== 'none' || duel.vm.ended) return;
    if (status !== 'none' && why === undefined) duel.fail('it does not say why');
    await acceptsNext(duel, good, random);
  });
}

/** The good stream, and no ends but its own. */
async function acceptsNext(duel: Duel, good: readonly Frame[], random: Random): Promise<void> {
  if (duel.vm.shape.disks > 0) return; // its writes do not come
  await duel.call(wire(good), random);
  const { colo, running } = duel.vm;
  if (duel.mode === 'plain' ? running : duel.loaded.length > 0) return;
  if (colo.query().status === 'none') duel.fail('the next primary is not taken');
}

const settledPrimary = ['none', 'lost', 'yielded', 'completed', 'ended'];

async function attackOutgoing(random: Random): Promise<void> {
  const mode = random.pick<Mode>(['colo', 'colo', 'plain']);
  const answers = (await recorded(mode, 0)).S;
  await watched(async () => {
    const duel = await Duel.start(random, 'primary', mode, 0);
    const { vm, world } = duel;
    void vm.start();
    await world.run(20);
    const said = spoiled(answers, mode, random);
    await duel.beCalled(wire(said), random);
    duel.checkWords();
    const { colo } = vm;
    if (!settledPrimary.includes(colo.info().state)) duel.fail('the primary is not through');
    if (['setup', 'active', 'device', 'cancelling'].includes(colo.query().status))
      duel.fail('the migration is not through');
    const told = said.map(({ kind }) => kind.name);
    const given = mode === 'plain' ? told.includes('loaded') : told.includes('stop-request');
    if (given) return;
    if (colo.info().state === 'lost') await goOn(duel);
    const before = vm.step;
    await world.run(world.now + 100);
    if (!vm.running || vm.step === before) duel.fail('the guest of the primary stands still');
  });
}

/** The user's word. */
async function goOn({ vm, world }: Duel): Promise<void> {
  try {
    await vm.lostHeartbeat();
  } catch (error) {
    if ((error as VmError).name !== 'VmError') throw error;
  }
  await world.run(world.now + 500);
}

export const migrationInTarget: FuzzTarget = {
  name: 'migration-in',
  summary: 'a hostile primary or source: a sentence or success, and the next one is taken',
  run: attackIncoming,
};

export const migrationOutTarget: FuzzTarget = {
  name: 'migration-out',
  summary:
    "a hostile secondary or destination: a sentence or success, and the primary's guest runs",
  run: attackOutgoing,
};
