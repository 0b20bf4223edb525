/** A pair, a client, an operator and one misfortune, all from a seed; and what must be true afterwards. */
import { VmError } from '../../src/base/errors.js';
import { Events } from '../../src/base/events.js';
import { Colo } from '../../src/colo/colo.js';
import { type ColoOptions, defaultColoOptions } from '../../src/colo/options.js';
import type { ColoStep } from '../../src/colo/steps.js';
import type { Sockets } from '../../src/host/ports.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import { SimDisk } from './disk.js';
import { SimMachine } from './guest.js';
import { History } from './history.js';
import { SimNetwork } from './network.js';
import { SimNode, World } from './world.js';

export const simOptions: ColoOptions = {
  ...defaultColoOptions,
  checkpointDelayMs: 15,
  heartbeatMs: 20,
  peerTimeoutMs: 200,
  leaseMs: 80,
  leaseMarginMs: 20,
  stopTimeoutMs: 60,
  replyTimeoutMs: 400,
  diskTimeoutMs: 400,
  syncTimeoutMs: 400,
  mergeTimeoutMs: 400,
  chunkPages: 3,
  precopyEnoughPages: 4,
};

/** What goes wrong, once. `side` is where. */
export type Misfortune =
  | { kind: 'nothing' }
  | { kind: 'crash'; side: 'P' | 'S'; at: number; clean: boolean }
  | { kind: 'crash-at-step'; side: 'P' | 'S'; step: ColoStep; nth: number; clean: boolean }
  | { kind: 'pause'; side: 'P' | 'S'; at: number; ms: number }
  | { kind: 'pause-at-step'; side: 'P' | 'S'; step: ColoStep; nth: number; ms: number }
  /** The primary stops for a while, and the operator does not wait for anybody's time-out. */
  | { kind: 'pause-failover'; side: 'P'; step: ColoStep; nth: number; ms: number; lag: number }
  | { kind: 'silence'; at: number; ms: number }
  | { kind: 'cut'; from: 'P' | 'S'; bytes: number }
  | { kind: 'corrupt'; from: 'P' | 'S'; byte: number }
  | { kind: 'failover'; side: 'P' | 'S'; at: number }
  | { kind: 'failover-at-step'; side: 'P' | 'S'; step: ColoStep; nth: number }
  | { kind: 'failover-both'; at: number; lag: number }
  | { kind: 'shutdown'; at: number };

export interface Scenario {
  seed: number;
  misfortune: Misfortune;
  /** When the guest's environment is unkind all the time. */
  noise?: boolean;
  /** Virtual time of the run. */
  endMs?: number;
}

const defaultEndMs = 1600;

const none = () => Promise.reject(new VmError('there are no files here'));
const noFiles = { open: none, replace: none };
const noShell = { run: () => { throw new VmError('there is no shell here'); } };

export class Side {
  readonly node: SimNode;
  readonly events = new Events<QmpEvents>();
  readonly disk: SimDisk;
  readonly machine: SimMachine;
  readonly colo: Colo;
  readonly exits: string[] = [];
  readonly options: ColoOptions;

  constructor(name: 'P' | 'S', world: World, network: SimNetwork, history: History, noise: boolean, onStep: (step: ColoStep) => void, sockets?: Sockets) {
    this.node = new SimNode(name, world);
    this.disk = new SimDisk(this.node, network, { epochFails: noise ? 0.1 : 0 });
    this.machine = new SimMachine(this.node, history, this.disk, { stopFails: noise ? 0.08 : 0, tapFull: noise ? 0.1 : 0 });
    this.options = { ...simOptions, verifyRam: world.seed % 2 === 0 };
    this.colo = new Colo({
      clock: this.node.clock,
      transports: { sockets: sockets ?? network.sockets(this.node), files: noFiles, shell: noShell },
      xColo: true,
      flushDisks: () => Promise.resolve(),
      diskObstacle: () => undefined,
      lifecycle: this.machine,
      events: this.events,
      options: this.options,
      disks: () => [this.disk],
      outputs: () => [this.machine.netdev.output],
      dropExports: async () => this.disk.dropExport(),
      step: step => this.node.dead || onStep(step),
    });
    this.events.on('COLO_EXIT', ({ mode, reason, error }) => {
      world.note(name, `COLO_EXIT ${mode} ${reason} ${error ?? ''}`);
      this.exits.push(reason);
    });
    this.events.on('MIGRATION', ({ status }) => world.note(name, `migration ${status}`));
  }
}

export interface Outcome {
  failures: string[];
  log: string[];
  steps: Set<ColoStep>;
  survivor: 'P' | 'S' | 'none';
  checkpoints: number;
}

export class Pair {
  readonly world: World;
  readonly network: SimNetwork;
  readonly history: History;
  readonly primary: Side;
  readonly secondary: Side;
  private readonly steps = new Set<ColoStep>();
  private readonly passed = new Map<string, number>();
  /** The operator has decided, and stays with it. */
  private decided = false;
  private readonly endMs: number;
  /** When what was done last has had its time. */
  private calmMs = 0;

  constructor(
    private readonly scenario: Scenario,
    sockets?: Sockets,
  ) {
    this.endMs = scenario.endMs ?? defaultEndMs;
    this.world = new World(scenario.seed);
    this.network = new SimNetwork(this.world);
    this.history = new History(this.world);
    const { misfortune, noise = false } = scenario;
    if (misfortune.kind === 'cut') this.network.cutAfter = { from: misfortune.from, bytes: misfortune.bytes };
    if (misfortune.kind === 'corrupt') this.network.corrupt = misfortune;
    this.primary = new Side('P', this.world, this.network, this.history, noise, step => this.onStep('P', step), sockets);
    this.secondary = new Side('S', this.world, this.network, this.history, noise, step => this.onStep('S', step), sockets);
    this.primary.disk.peer = this.secondary.disk;
    this.secondary.disk.peer = this.primary.disk;
    this.history.held = () => this.primary.machine.netdev.output.info().status === 'on';
    for (const side of [this.primary, this.secondary]) {
      side.events.on('COLO_EXIT', ({ reason }) => reason === 'error' && this.later(() => this.operate()));
      side.node.onDeath(() => this.later(() => this.operate()));
    }
  }

  async run(): Promise<Outcome> {
    this.primary.machine.powerOn();
    await this.secondary.colo.listen('tcp:0:8888');
    this.world.at(20, () => void this.primary.colo.migrate('tcp:secondary:8888'));
    this.arrange(this.scenario.misfortune);
    // When nothing has happened by then, the operator tries a planned failover.
    this.world.at(800, () => this.scenario.misfortune.kind === 'nothing' && this.failover(this.secondary));
    await this.world.run(this.endMs);
    await this.world.run(this.calmMs);
    // Something may be under way just now; every wait has an end.
    const end = this.world.now;
    for (let ms = 50; ms <= 800 && this.underWay(); ms += 50) await this.world.run(end + ms);
    const survivor = this.check();
    return { failures: this.world.failures, log: this.world.log, steps: this.steps, survivor, checkpoints: this.primary.colo.info().statistics?.done ?? 0 };
  }

  private arrange(m: Misfortune): void {
    const side = 'side' in m && m.side === 'S' ? this.secondary : this.primary;
    switch (m.kind) {
      case 'crash': return void this.world.at(m.at, () => side.node.crash(m.clean));
      case 'pause': return void this.world.at(m.at, () => side.node.pause(m.ms));
      case 'silence': return void this.world.at(m.at, () => this.network.block(m.ms));
      case 'failover': return void this.world.at(m.at, () => this.decided || this.failover(side));
      case 'failover-both':
        // Two operators who do not know of each other: the connection works, and the sides settle it.
        return void this.world.at(m.at, () => {
          if (this.decided) return;
          const [first, second] = m.lag < 0 ? [this.secondary, this.primary] : [this.primary, this.secondary];
          this.failover(first);
          this.world.after(Math.abs(m.lag), () => this.failover(second));
        });
      case 'shutdown': return void this.world.at(m.at, () => this.shutdown());
    }
  }

  private shutdown(): void {
    this.world.note('P', 'guest shuts down');
    this.primary.machine.requestShutdown();
    if (!this.primary.colo.guestShutdown()) this.primary.machine.powerOff();
  }

  private onStep(who: 'P' | 'S', step: ColoStep): void {
    this.steps.add(step);
    const nth = (this.passed.get(`${who} ${step}`) ?? 0) + 1;
    this.passed.set(`${who} ${step}`, nth);
    if (!/ping|pong|-pages|-blob/.test(step)) this.world.note(who, step);
    this.observe(step);
    const side = who === 'P' ? this.primary : this.secondary;
    const m = this.scenario.misfortune;
    if (!('step' in m) || m.side !== who || m.step !== step || m.nth !== nth) return;
    if (m.kind === 'crash-at-step') side.node.crash(m.clean);
    else if (m.kind === 'pause-at-step' || m.kind === 'pause-failover') {
      side.node.pause(m.ms);
      this.calmMs = this.world.now + m.ms + 300;
    }
    if (m.kind === 'pause-failover') {
      this.world.after(m.lag, () => this.failover(this.secondary));
    } else if (m.kind === 'failover-at-step' && !this.decided) this.failover(side);
  }

  private observe(step: ColoStep): void {
    const { machine } = this.secondary;
    if (step === 'secondary-checked') this.history.untouched(machine, 'before vmstate-received');
    if (step === 'secondary-sent-vmstate-received') this.history.covered(machine.parsedSerial);
    if (step === 'secondary-committed') this.history.loaded(machine);
    if (step === 'takeover-fenced') this.history.untouched(machine, 'at the start of the failover');
    if (step === 'takeover-network-open') this.history.takeoverAt = this.world.now;
    if (step === 'primary-cut' && this.primary.machine.running) this.world.fail('cut while the guest runs');
  }

  /** The operator's time to notice; a test may have none. */
  later(fn: () => void): void {
    this.world.after(this.world.random.between(1, 250), fn);
  }

  /** Somebody looks at both hosts and chooses the side that goes on. */
  private operate(): void {
    if (this.decided) return;
    this.decided = true;
    const { primary, secondary } = this;
    const choice = primary.node.dead || primary.node.paused ? secondary : secondary.node.dead || secondary.node.paused ? primary : this.world.random.pick([primary, secondary]);
    if (this.failover(choice)) return;
    this.failover(choice === primary ? secondary : primary);
  }

  private failover(side: Side): boolean {
    this.decided = true;
    if (side.node.dead) return false;
    try {
      side.colo.lostHeartbeat();
      this.calmMs = Math.max(this.calmMs, this.world.now + 300);
      this.world.note(side.node.name, 'x_colo_lost_heartbeat');
      return true;
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      this.world.note(side.node.name, `x_colo_lost_heartbeat refused: ${error.message}`);
      return false;
    }
  }

  private check(): Outcome['survivor'] {
    const { primary, secondary, world } = this;
    if (world.failures.length > 0) return 'none';
    const stuck = this.underWay();
    if (stuck) world.fail(`${stuck.node.name} is still in state ${stuck.colo.info().state}`);
    for (const side of [primary, secondary]) {
      if (side.colo.info().state === 'broken') world.fail(`${side.node.name} is broken: ${side.colo.query().error}`);
      if (side.exits.length > 1) world.fail(`${side.node.name} told COLO_EXIT ${side.exits.length} times`);
    }
    if (this.scenario.misfortune.kind === 'nothing' && !this.scenario.noise && (secondary.colo.info().state !== 'completed' || primary.colo.info().statistics!.done < 20)) world.fail('nothing happened, and yet it did not go well');
    const survivor = this.survivor();
    if (survivor) this.history.oneMachine(survivor.machine.step);
    if (survivor && !survivor.machine.poweredOff) this.checkService(survivor);
    return survivor === primary ? 'P' : survivor === secondary ? 'S' : 'none';
  }

  private underWay(): Side | undefined {
    return [this.primary, this.secondary].find(side => !side.node.dead && ['require', 'active', 'relaunch', 'loading'].includes(side.colo.info().state));
  }

  private survivor(): Side | undefined {
    const { primary, secondary, world } = this;
    const alone = secondary.colo.info().state === 'completed' && !secondary.node.dead;
    const held = ['lost', 'yielded'].includes(primary.colo.info().state);
    if (alone && !primary.node.dead && !held) world.fail(`both sides live: the primary is ${primary.colo.info().state}`);
    if (alone) return secondary;
    return primary.node.dead || primary.colo.info().state === 'yielded' ? undefined : primary;
  }

  /** A side that goes on runs, and its client hears from it. */
  private checkService(side: Side): void {
    const { state } = side.colo.info();
    if (state === 'lost' && side === this.primary) return;
    if (!side.machine.running) return this.world.fail(`${side.node.name} survives in state ${state}, but its guest stands still`);
    const last = this.history.packets.filter(p => p.from === side.node.name).at(-1);
    if (!last || last.at < this.world.now - 120) this.world.fail(`${side.node.name} survives in state ${state}, but its client hears nothing since ${last?.at.toFixed(1)}`);
  }
}
