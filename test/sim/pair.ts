/** A pair, a client, an operator and misfortunes, from a seed; and what must be true afterwards. */
import { VmError } from '../../src/base/errors.js';
import type { ColoStep } from '../../src/colo/steps.js';
import { SimNetwork } from '../support/sim/network.js';
import { SimMachineHost, SimNode } from '../support/sim/node.js';
import { SimArbiterStore } from '../support/sim/arbiter.js';
import { World } from '../support/sim/world.js';
import { checkArbitrated, untilArbitrated } from './arbitrated.js';
import { History } from './history.js';
import { overlayImage, prepareImages } from './images.js';
import type { Misfortune, Name, Scenario } from './misfortunes.js';
import { noted, protectAgain } from './again.js';
import { strike } from './strike.js';
import { collector, ports, type Role, type VmShape } from './command-line.js';
import { keepTrying, watchCopies } from './verbs.js';
import { SimVm, type SimVmContext } from './vm.js';

/** When nothing has happened by then, the operator tries a planned failover. */
const plannedMs = 800;
/** After the last blow: time-outs run, the operator looks and decides, the survivor serves. */
const calmAfterMs = 700;
/**
 * A client of a side that goes on hears from it within this time: several epochs, of which slow
 * stops of the guest may have given up some.
 */
const serviceMs = 600;

export interface Outcome {
  failures: string[];
  log: string[];
  steps: Set<ColoStep>;
  survivor: Name | 'none';
  takeovers: number;
  checkpoints: number;
  /** Kinds of misfortunes that came to pass. */
  hit: string[];
}

const ordersMax = 4;
/** A side waits so long for an answer of the arbiter. */
const ARBITER_MS = 40;

/** What a test wants otherwise than simOptions, or than the simulated network. */
export type PairOptions = Pick<SimVmContext, 'sockets' | 'options' | 'arbiter'>;

export class Pair {
  readonly world: World;
  readonly network: SimNetwork;
  readonly history: History;
  /** It decides, and nobody is there. */
  readonly arbiter: SimArbiterStore | undefined;
  primary!: SimVm;
  secondary!: SimVm;
  private readonly shape: VmShape;
  private readonly steps = new Set<ColoStep>();
  private readonly passed = new Map<string, number>();
  private readonly hit: string[] = [];
  /** For a test that does something at a step. */
  onStepOf: (step: ColoStep) => void = () => undefined;
  /** The operator has decided, and stays with it. */
  private decided = false;
  /** How often a takeover that was not finished has been ordered again. */
  private ordered = 0;
  private lastRejoined: SimVm | undefined;
  /** When what was done last has had its time. */
  private calmMs = 0;
  /** What had left the hosts before the client waited for the survivor. */
  private packetsBefore = 0;

  private constructor(
    readonly scenario: Scenario,
    private readonly more: PairOptions,
  ) {
    const { seed, disks = 1, nics = 1, overlays = 'memory' } = scenario;
    const { copies = false, bulky = false, noise = false } = scenario;
    const { checkpointDelayMs, checkpointGapMs } = scenario;
    this.shape = {
      disks,
      nics,
      overlays,
      copies,
      bulky,
      noise,
      checkpointDelayMs,
      checkpointGapMs,
    };
    this.world = new World(seed);
    this.network = new SimNetwork(this.world);
    this.network.onStruck = () => this.hasTime(0);
    this.history = new History(this.world);
    this.arbiter = scenario.arbiter && new SimArbiterStore(this.world);
    Object.assign(this.arbiter ?? {}, scenario.arbiter);
    watchCopies(this.network, this.history);
  }

  /** Both machines are built, none runs yet. */
  static async create(scenario: Scenario, more: PairOptions = {}): Promise<Pair> {
    const pair = new Pair(scenario, more);
    await pair.collectCopies();
    const overlay = await overlayImage();
    const sides: SimVm[] = [];
    for (const [name, role] of [
      ['P', 'primary'],
      ['S', 'secondary'],
    ] as const) {
      const host = new SimMachineHost(name, pair.world);
      prepareImages(host.storage, scenario, { overlay, disks: pair.shape.disks });
      sides.push(await pair.world.play(pair.boot(host, role)));
    }
    [pair.primary, pair.secondary] = sides;
    pair.history.held = nic => pair.primary.holds(nic);
    return pair;
  }

  private async boot(host: SimMachineHost, role: Role): Promise<SimVm> {
    const { network, history, more } = this;
    const node = new SimNode(host.name, this.world, host);
    const name = host.name as Name;
    if (name === 'S') node.clock.wall.jump(this.scenario.arbiter?.clocksApartMs ?? 0);
    const onStep = (step: ColoStep) => this.onStep(name, step);
    const arbiter = this.arbiter && (() => this.arbiter!.open(node, ARBITER_MS));
    const context = { node, network, history, onStep, arbiter, ...more };
    const vm = await SimVm.build(context, role, this.shape);
    vm.events.on(
      'COLO_EXIT',
      ({ reason }) => reason === 'error' && this.later(() => void this.operate(vm)),
    );
    node.onDeath(clean => {
      if (!clean) for (const model of vm.models) model.powerLoss();
      this.later(() => void this.operate());
    });
    return vm;
  }

  /** Another host takes the copies of packets, and reads them. */
  private async collectCopies(): Promise<void> {
    const node = new SimNode(collector, this.world);
    const address = { kind: 'tcp', host: '0', port: ports.copies } as const;
    await this.network.sockets(node).listen(address, stream => stream.onData(() => undefined));
  }

  /** Its host is there, with what was kept there. */
  async bootAgain(old: SimVm, role = old.role): Promise<SimVm> {
    this.world.note(old.name, 'is started again');
    const vm = await this.boot(old.node.host, role);
    vm.goOnFrom(old);
    if (role === 'primary') this.primary = vm;
    else {
      this.secondary = vm;
      // Its new process has loaded nothing yet.
      if (this.history.takeoverAt === undefined) this.history.committed = undefined;
    }
    return vm;
  }

  async run(): Promise<Outcome> {
    const { world } = this;
    noted(this.primary, this.primary.start());
    await this.secondary.listenForPrimary();
    world.at(20, () => this.protect());
    for (const misfortune of this.scenario.misfortunes) this.arrange(misfortune);
    this.clientSpeaks();
    this.attend();
    const calm = this.scenario.misfortunes.every(({ kind }) => kind === 'nothing');
    const planned = calm && !this.arbiter;
    world.at(plannedMs, () => void (planned && this.failover(this.secondary)));
    await this.toTheEnd(calm ? plannedMs + calmAfterMs : 500);
    await untilArbitrated(this);
    // A takeover that comes meanwhile has its time, too, and a blow that waited for its step.
    for (let of: SimVm | undefined; of !== this.owner() || world.now < this.calmMs;) {
      while (world.now < this.calmMs) await world.run(this.calmMs);
      of = this.owner();
      await this.untilHeard();
      await this.untilCalm();
      await untilArbitrated(this);
    }
    const survivor = this.check();
    return this.outcome(survivor);
  }

  /** Until the last blow is over, and what it has set off. Every wait has an end. */
  private async toTheEnd(atLeastMs: number): Promise<void> {
    const { world, scenario } = this;
    const timed = scenario.misfortunes.map(m => ('at' in m ? m.at : 0));
    await world.run(scenario.endMs ?? Math.max(atLeastMs, ...timed.map(at => at + calmAfterMs)));
    while (world.now < this.calmMs) await world.run(this.calmMs);
    const end = world.now;
    for (let ms = 50; ms <= 800 && this.underWay(); ms += 50) await world.run(end + ms);
  }

  /** A user makes room on a full disk, and has the guest go on. */
  private attend(): void {
    this.world.after(20, () => {
      for (const vm of [this.primary, this.secondary]) {
        if (vm.lifecycle.state === 'io-error' && vm.storage.isCalm) keepTrying(vm);
      }
      if (this.secondary !== this.lastRejoined && protectAgain(this)) this.rejoined();
      this.attend();
    });
  }

  /** The operator has a pair again, and may have to decide again. */
  private rejoined(): void {
    this.world.note('P', 'is protected again');
    this.lastRejoined = this.secondary;
    this.decided = false;
    this.history.committed = undefined;
    this.hasTime(0);
  }

  /**
   * A guest that stands still for a checkpoint goes on after it, when a slow stop is through, and
   * the secondary loads what it has said that it holds.
   */
  private async untilCalm(): Promise<void> {
    const { world } = this;
    const still = ({ node, lifecycle: { state, running } }: SimVm) =>
      !node.dead && (state === 'colo' || (state === 'running' && !running));
    for (const end = world.now + 800; world.now < end; await world.run(world.now + 1)) {
      if (!this.underWay() && ![this.primary, this.secondary].some(still)) return;
    }
  }

  /** Until the client has heard from the side that goes on. */
  private async untilHeard(): Promise<void> {
    const { world, history } = this;
    this.packetsBefore = history.packets.length;
    const { checkpointDelayMs = 0 } = this.scenario;
    const end = world.now + serviceMs + 3 * checkpointDelayMs;
    for (; world.now < end; await world.run(world.now + 5)) {
      const vm = this.owner();
      if (!this.serves(vm) || this.spoke(vm)) return;
    }
  }

  private spoke({ name }: SimVm): boolean {
    return this.history.packets.slice(this.packetsBefore).some(({ from }) => from === name);
  }

  private outcome(survivor: Outcome['survivor']): Outcome {
    const { failures, log } = this.world;
    const checkpoints = this.primary.colo.info().statistics?.done ?? 0;
    const takeovers = this.history.takeoverAt === undefined ? 0 : 1;
    return { failures, log, steps: this.steps, survivor, takeovers, checkpoints, hit: this.hit };
  }

  private protect(): void {
    noted(this.primary, this.primary.protect(this.scenario.different));
  }

  /** Frames for the guest reach both hosts, as they do while a switch has not learned its place. */
  private clientSpeaks(): void {
    const frame = new Uint8Array(60).fill(this.world.random.below(256));
    this.world.after(this.world.random.between(5, 60), () => {
      for (const vm of [this.primary, this.secondary]) if (!vm.node.dead) vm.receive(frame);
      this.clientSpeaks();
    });
  }

  sideOf(m: Misfortune): SimVm {
    return 'side' in m && m.side === 'S' ? this.secondary : this.primary;
  }

  arrange(m: Misfortune): void {
    if (m.kind === 'cut') {
      this.network.cutAfter = { from: m.from, bytes: m.bytes, port: m.port ?? ports.migration };
    }
    if (m.kind === 'corrupt') this.network.corrupt = { ...m, port: ports.migration };
    if (!('at' in m)) return;
    this.world.at(m.at, () => {
      this.struck(m);
      strike(this, m);
    });
  }

  /** Whatever it does takes a while to be over. */
  private struck(m: Misfortune): void {
    this.hit.push(m.kind);
    this.hasTime('ms' in m ? m.ms : 0);
  }

  private hasTime(ms: number): void {
    this.calmMs = Math.max(this.calmMs, this.world.now + ms + calmAfterMs);
  }

  decideFor(vm: SimVm): void {
    if (!this.decided) void this.failover(vm);
  }

  /** Two operators who do not know of each other: the connection works, and the sides settle it. */
  decideForBoth(lag: number): void {
    if (this.decided) return;
    const { primary, secondary } = this;
    const [first, second] = lag < 0 ? [secondary, primary] : [primary, secondary];
    void this.failover(first);
    this.world.after(Math.abs(lag), () => void this.failover(second));
  }

  private onStep(who: Name, step: ColoStep): void {
    this.steps.add(step);
    const nth = (this.passed.get(`${who} ${step}`) ?? 0) + 1;
    this.passed.set(`${who} ${step}`, nth);
    if (!/ping|pong|-pages|-blob/.test(step)) this.world.note(who, step);
    this.observe(step);
    this.onStepOf(step);
    for (const m of this.scenario.misfortunes) {
      if ('step' in m && m.side === who && m.step === step && m.nth === nth) this.strikeAtStep(m);
    }
  }

  private strikeAtStep(m: Extract<Misfortune, { step: ColoStep }>): void {
    this.struck(m);
    const vm = this.sideOf(m);
    switch (m.kind) {
      case 'crash-at-step':
        return vm.node.crash(m.clean);
      case 'failover-at-step':
        return this.decideFor(vm);
      case 'pause-at-step':
        return vm.node.pause(m.ms);
      case 'pause-failover':
        vm.node.pause(m.ms);
        this.world.after(m.lag, () => this.decideFor(this.secondary));
    }
  }

  private observe(step: ColoStep): void {
    const { history, secondary } = this;
    switch (step) {
      case 'secondary-checked':
        return history.untouched(secondary, 'before vmstate-received');
      case 'secondary-sent-vmstate-received':
        return history.covered(secondary.parsedSerial);
      case 'secondary-committed':
        return history.loaded(secondary);
      case 'takeover-fenced':
        return history.untouched(secondary, 'at the start of the failover');
      case 'takeover-disk-merged':
        if (secondary.netdevs.every((_, nic) => secondary.holds(nic))) return;
        return this.world.fail("the secondary's network opens before its disks are whole");
      case 'primary-sent-stopped':
        return this.yielded();
      case 'takeover-network-open':
        return history.takesOver(secondary);
      case 'primary-cut':
        if (this.primary.running) this.world.fail('cut while the guest runs');
    }
  }

  /** The guest stands still here for good, whatever a user says. */
  private yielded(): void {
    const { primary, world } = this;
    if (primary.running) world.fail('the primary says that it has stopped, and its guest runs');
    world.after(30, () => keepTrying(primary));
  }

  /** The operator's time to notice; a test may have none. */
  later(fn: () => void): void {
    this.world.after(this.world.random.between(1, 250), fn);
  }

  /** Somebody looks at both hosts and chooses the side that goes on. */
  private async operate(told?: SimVm): Promise<void> {
    if (this.arbiter) return;
    if (told?.colo.info().state === 'unfinished') return this.orderAgain(told);
    if (this.decided) return;
    this.decided = true;
    const { primary, secondary } = this;
    const out = ({ node }: SimVm) => node.dead || node.paused;
    const either = this.world.random.pick([primary, secondary]);
    const choice = out(primary) ? secondary : out(secondary) ? primary : either;
    if (await this.failover(choice)) return;
    await this.failover(choice === primary ? secondary : primary);
  }

  /**
   * What a disk has lost with a sync that failed no order brings back: then the operator gives up.
   */
  private orderAgain(vm: SimVm): void {
    if (this.ordered++ < ordersMax || !/may be lost/.test(vm.exits.at(-1) ?? ''))
      void this.failover(vm);
  }

  /** False: it is refused. */
  private async failover(vm: SimVm): Promise<boolean> {
    this.decided = true;
    if (vm.node.dead) return false;
    this.world.note(vm.name, 'x_colo_lost_heartbeat');
    try {
      await vm.user.qmp('x-colo-lost-heartbeat');
      this.calmMs = Math.max(this.calmMs, this.world.now + 400);
      return true;
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      this.world.note(vm.name, `x_colo_lost_heartbeat refused: ${error.message}`);
      return false;
    }
  }

  private check(): Outcome['survivor'] {
    const { primary, secondary, world } = this;
    if (world.failures.length > 0) return 'none';
    const stuck = this.underWay();
    if (stuck) world.fail(`${stuck.name} is still in state ${stuck.colo.info().state}`);
    for (const vm of [primary, secondary]) {
      const { state } = vm.colo.info();
      const { error } = vm.colo.query();
      // An overlay whose file does not take a sync any more is given up, and the primary goes on.
      const given = /cannot be emptied/.test(error ?? '');
      if (state === 'broken' && !given) world.fail(`${vm.name} is broken: ${error}`);
      if (state === 'yielded' && vm.running)
        world.fail(`${vm.name} has yielded, and its guest runs`);
      // A takeover that could not be finished, and a peer that left a lost primary alone, are told
      // of too.
      const told = vm.exits.filter(
        text => !/not finished|without protection|does not go on alone/.test(text),
      ).length;
      if (told > 1) world.fail(`${vm.name} told COLO_EXIT ${told} times`);
    }
    this.checkQuiet();
    checkArbitrated(this);
    const survivor = this.survivor();
    this.history.oneMachine(survivor.step);
    survivor.checkImages();
    if (survivor.node.dead) return 'none';
    if (this.serves(survivor)) this.checkService(survivor);
    return survivor === primary ? 'P' : 'S';
  }

  private checkQuiet(): void {
    const { misfortunes, noise } = this.scenario;
    if (noise || this.arbiter || misfortunes.some(({ kind }) => kind !== 'nothing')) return;
    const done = this.primary.colo.info().statistics?.done ?? 0;
    const { checkpointDelayMs = 15 } = this.scenario;
    const enough = Math.floor(plannedMs / (checkpointDelayMs + 25));
    if (this.secondary.colo.info().state === 'completed' && done >= enough) return;
    this.world.fail(`nothing happened, and yet it did not go well: ${done} checkpoints`);
  }

  private underWay(): SimVm | undefined {
    const busy: readonly string[] = ['require', 'active', 'relaunch', 'loading'];
    return [this.primary, this.secondary].find(
      vm => !vm.node.dead && busy.includes(vm.colo.info().state),
    );
  }

  /** Whose guest it is now. Dead or not: the other one must not go on beside what it has said. */
  private survivor(): SimVm {
    const { primary, history, world } = this;
    if (history.takeoverAt === undefined) return primary;
    const { state } = primary.colo.info();
    const held = state === 'lost' || state === 'yielded' || !primary.running;
    if (!primary.node.dead && !held) world.fail(`both sides live: the primary is ${state}`);
    return this.owner();
  }

  private owner(): SimVm {
    return this.history.takeoverAt === undefined ? this.primary : this.secondary;
  }

  /** Its guest is to run, and its frames to leave. */
  private serves(vm: SimVm): boolean {
    if (vm.node.dead || vm.ended || vm.bornAgain) return false;
    const { state } = vm.colo.info();
    return vm !== this.primary || (state !== 'lost' && state !== 'yielded');
  }

  /** A side that goes on runs, and its client hears from it. */
  private checkService(vm: SimVm): void {
    const who = `${vm.name} survives in state ${vm.colo.info().state}`;
    if (!vm.lifecycle.running) return this.world.fail(`${who}, but its guest stands still`);
    if (this.spoke(vm)) return;
    const last = this.history.packets.filter(p => p.from === vm.name).at(-1);
    this.world.fail(`${who}, but its client hears nothing since ${last?.at.toFixed(1)}`);
  }
}
