/**
 * One side of a simulated pair: a whole VM, built from a command line on a simulated host, with a
 * toy guest that is small enough to compare. Users reach it by its monitor.
 */
import type { Arbiter } from '../../src/arbiter/contract.js';
import { VmError } from '../../src/base/errors.js';
import type { Events } from '../../src/base/events.js';
import type { BlockLayer } from '../../src/block/layer/layer.js';
import type { ReplicationPrimary } from '../../src/block/drivers/replication/primary.js';
import { parseLaunch } from '../../src/commands/options/spec.js';
import type { ColoController } from '../../src/colo/controller.js';
import { type ColoOptions, defaultColoOptions } from '../../src/colo/options.js';
import type { ColoStep } from '../../src/colo/steps.js';
import type { Address, Sockets } from '../../src/host/ports.js';
import type { VmLifecycle } from '../../src/machine/lifecycle.js';
import type { Netdev } from '../../src/net/contract.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import { Vm } from '../../src/vm/vm.js';
import { Random } from '../support/random.js';
import { SimAccel, simAccelerators } from '../support/sim/accel.js';
import type { SimStorage } from '../support/sim/files.js';
import { SimHost } from '../support/sim/host.js';
import type { SimNetwork } from '../support/sim/network.js';
import type { SimNode } from '../support/sim/node.js';
import type { SimRam } from '../support/sim/ram.js';
import type { SimTap } from '../support/sim/taps.js';
import { MonitorUser } from '../support/monitor-user.js';
import type { History } from './history.js';
import type { DiskModel } from './model.js';
import { ports, type Role, type VmShape, argvOf } from './command-line.js';
import { Program, stepOf } from './program.js';

/** Times are short, so that a run is; queues and pieces are small, so that their bounds are met. */
export const simOptions: ColoOptions = {
  ...defaultColoOptions,
  checkpointDelayMs: 15,
  // Output waits for the delay, unless the scenario says otherwise.
  checkpointGapMs: 1000,
  heartbeatMs: 20,
  peerTimeoutMs: 100,
  loopLimitMs: 200,
  leaseMs: 80,
  leaseMarginMs: 20,
  stopTimeoutMs: 60,
  replyTimeoutMs: 400,
  diskTimeoutMs: 400,
  retryMs: 20,
  syncTimeoutMs: 400,
  chunkPages: 3,
  turnBytes: 8 * 4096,
  precopyEnoughPages: 4,
};
const stopMs = 60;
const heldOutput = { packets: 40, bytes: 4096 };
const bulk = 64 * 1024;

export interface SimVmContext {
  readonly node: SimNode;
  readonly network: SimNetwork;
  readonly history: History;
  onStep(step: ColoStep): void;
  /** Some connections go over others than those of the simulated network. */
  sockets?(simulated: Sockets): Sockets;
  /** Both sides have an arbiter, and are called there as their hosts are. */
  arbiter?(node: SimNode): Arbiter;
  /** Other times than simOptions. */
  readonly options?: Partial<ColoOptions>;
}

export class SimVm {
  readonly exits: string[] = [];
  readonly images: string[];
  /** The snapshot, by the oracle's number, of the state that was checked last. */
  parsedSerial = 0;
  /** An earlier process on this host was this machine. */
  bornAgain = false;
  /** It waits for a primary. */
  listening = false;
  /** The guest is over, or the process was told to end. */
  ended = false;
  readonly user: MonitorUser;
  private readonly targets = new Set<number>();

  private constructor(
    private readonly world: SimVmContext,
    readonly role: Role,
    readonly shape: VmShape,
    readonly vm: Vm,
    private readonly accel: SimAccel,
    private readonly program: Program,
    private readonly host: SimHost,
  ) {
    this.user = new MonitorUser(vm);
    const letter = this.node.host.name.toLowerCase();
    this.images = Array.from({ length: shape.disks }, (_, n) => `/${letter}${n}.img`);
    this.listen();
    void this.untilOver();
  }

  /** Its files must be there. The devices find their disks, and the power is on. */
  static async build(world: SimVmContext, role: Role, shape: VmShape): Promise<SimVm> {
    const { node, history } = world;
    const made: { side?: SimVm; accel?: SimAccel; program?: Program } = {};
    const options = {
      slowStop: shape.noise ? 0.04 : 0,
      ballastBytes: shape.bulky ? bulk : 0,
      saved: () => history.snapshot(made.side!),
      parsed: (serial: number) => void (made.side!.parsedSerial = serial),
    };
    const host = hostOf(world, shape, ({ cpu, ramBytes }) => {
      made.accel = new SimAccel(node, ramBytes, cpu, options);
      made.program = new Program(made.accel, shape, {
        nextId: () => node.world.nextId(),
        step: (id, parent) => history.step(id, parent),
        wrong: what => node.world.fail(`${node.name}: ${what}`),
      });
      return made.accel;
    });
    const seat = `file:/arbiter,node=${node.name},peer=${node.name === 'P' ? 'S' : 'P'}`;
    const argv = argvOf(role, node.host.name.toLowerCase(), shape);
    const { spec } = parseLaunch(role, world.arbiter ? [...argv, '-arbiter', seat] : argv);
    const vm = await Vm.build(spec, host);
    made.side = new SimVm(world, role, shape, vm, made.accel!, made.program!, host);
    await made.side.prepare();
    return made.side;
  }

  get name(): string {
    return this.world.node.name;
  }
  get node(): SimNode {
    return this.world.node;
  }
  get storage(): SimStorage {
    return this.world.node.host.storage;
  }
  get colo(): ColoController {
    return this.vm.colo;
  }
  get block(): BlockLayer {
    return this.vm.block;
  }
  get lifecycle(): VmLifecycle {
    return this.vm.machine.lifecycle;
  }
  get events(): Events<QmpEvents> {
    return this.vm.machine.events;
  }
  get netdevs(): readonly Netdev[] {
    return this.vm.network.netdevs;
  }
  get taps(): readonly SimTap[] {
    return this.host.taps.opened;
  }
  get ram(): SimRam {
    return this.accel.ram;
  }
  get step(): number {
    return this.program.lastStep;
  }
  get loadedSerial(): number {
    return this.accel.loadedSerial;
  }
  /** What a process was at its end is no guest that runs. */
  get running(): boolean {
    return !this.node.dead && this.lifecycle.running && this.accel.running;
  }
  /** What each disk must hold by what the guest was told. */
  get models(): readonly DiskModel[] {
    return this.program.models;
  }

  /** The machine is another process now: a guest that boots here has what the old one left. */
  goOnFrom(old: SimVm): void {
    this.bornAgain = true;
    this.program.goOnFrom(old.step, old.models);
  }

  /** The vCPU stops by itself, and cannot go on. */
  cpuFails(message: string): void {
    this.accel.halt({ kind: 'internal-error', message });
  }

  /** -S is not given: the guest runs. */
  start(): Promise<void> {
    return this.vm.start();
  }

  async listenForPrimary(uri = `tcp:0:${ports.migration}`): Promise<Address> {
    this.listening = true;
    await this.user.qmp('migrate-incoming', { uri });
    return this.colo.waitsAt!;
  }

  /** As the procedure says: a replica under each disk, then migrate. */
  async attachReplicas(host = 'secondary', port: number = ports.nbd): Promise<void> {
    for (const n of this.images.keys()) {
      const server = `file.driver=nbd,file.host=${host},file.port=${port}`;
      const file = `${server},file.export=colo-disk${n},file.x-request-timeout=1`;
      await this.user.hmp(
        `drive_add -n buddy driver=replication,mode=primary,${file},node-name=replica${n}`,
      );
      await this.user.qmp('x-blockdev-change', { parent: `colo-disk${n}`, node: `replica${n}` });
    }
  }

  migrate(uri = `tcp:secondary:${ports.migration}`): Promise<unknown> {
    return this.user.qmp('migrate', { uri });
  }

  lostHeartbeat(): Promise<unknown> {
    return this.user.qmp('x-colo-lost-heartbeat');
  }

  useColo(on: boolean): Promise<unknown> {
    const capabilities = [{ capability: 'x-colo', state: on }];
    return this.user.qmp('migrate-set-capabilities', { capabilities });
  }

  /** different: what the secondary has on its disks may be anything, and the user says so. */
  async protect(different = false): Promise<void> {
    await this.attachReplicas();
    if (different) await this.user.set({ 'x-sync-from': 'primary' });
    await this.migrate();
  }

  /** The guest's output on that nic is held back. */
  holds(nic: number): boolean {
    return this.netdevs[nic].info().filters[0].status === 'on';
  }

  /** The guest decides to end. */
  powersOff(): void {
    this.program.leaving = true;
  }

  /** What their nodes say of themselves. */
  get replicas(): unknown[] {
    const nodes = this.images.map((_, n) => this.block.graph.find(`replica${n}`));
    return nodes.map(node => (node?.driver as ReplicationPrimary).describe().state);
  }

  /** Of all devices, chips and vCPUs. */
  deviceStates(): Buffer[] {
    const { devices } = this.vm.machine.board;
    const states = devices.all.map(device => device.vmstate.save(device.state));
    return [...states, ...this.accel.states()];
  }

  /** A frame comes from the network. */
  receive(frame: Uint8Array): void {
    for (const tap of this.taps) tap.arrive(frame);
  }

  driveId(n: number): string {
    return this.role === 'primary' ? `colo-disk${n}` : `active-disk${n}`;
  }

  /** The file that the guest's disk is in now: a job may have moved it. */
  imageOf(n: number): string {
    const drive = this.block.list().find(({ id }) => id === this.driveId(n));
    if (drive?.backend.nodeName === 'target') this.targets.add(n);
    return this.targets.has(n) ? '/target' : this.images[n];
  }

  /** Everything that its guest was told is in its images. */
  checkImages(): void {
    for (const [n, model] of this.models.entries()) {
      const path = this.imageOf(n);
      const wrong = model.differs(this.storage.bytes(path));
      if (wrong) this.node.world.fail(`${this.name} survives, but '${path}' has ${wrong}`);
    }
  }

  /** What a user says before the guest runs. */
  private async prepare(): Promise<void> {
    const { user, shape } = this;
    await this.useColo(true);
    const { checkpointDelayMs, checkpointGapMs } = shape;
    if (checkpointDelayMs !== undefined)
      await user.set({ 'x-checkpoint-delay': checkpointDelayMs });
    if (checkpointGapMs !== undefined) await user.set({ 'x-checkpoint-gap': checkpointGapMs });
    if (this.role === 'primary') return;
    await user.hmp(`nbd_server_start 0:${ports.nbd}`);
    for (const n of this.images.keys()) await user.hmp(`nbd_server_add -w colo-disk${n}`);
  }

  /** The process of a VM that is over closes it, and ends. */
  private async untilOver(): Promise<void> {
    await this.vm.machine.ended;
    if (this.node.dead) return;
    this.ended = true;
    this.node.world.note(this.name, 'is over');
    this.images.forEach((_, n) => this.imageOf(n));
    try {
      await this.vm.dispose();
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      this.node.world.note(this.name, error.message);
    } finally {
      this.node.crash(true);
    }
  }

  private listen(): void {
    const { world } = this.node;
    this.events.on('COLO_EXIT', ({ mode, reason, error }) => {
      world.note(this.name, `COLO_EXIT ${mode} ${reason} ${error ?? ''}`);
      this.exits.push(`${reason} ${error ?? ''}`);
    });
    this.events.on('MIGRATION', ({ status }) => {
      world.note(this.name, `migration ${status}`);
      // One session, one COLO_EXIT.
      if (status === 'setup' || status === 'active') this.exits.length = 0;
    });
    this.events.on('BLOCK_IO_ERROR', e =>
      world.note(this.name, `I/O error on ${e.device}: ${e.action}, ${e.reason}`),
    );
    this.events.on('DEVICE_BROKEN', e => world.fail(`${this.name}: ${JSON.stringify(e)}`));
    this.vm.machine.onRunState((state, previous) => {
      if (state !== 'colo' && previous !== 'colo') world.note(this.name, `${previous} -> ${state}`);
    });
    this.ram.beforeWrite = () => {
      if (this.accel.sealed && !this.lifecycle.running)
        world.fail(`${this.name}: RAM is written after the state was saved, before the guest runs`);
    };
  }
}

/** The simulated host with this side's sizes, its faults, and the oracle at its doors. */
function hostOf(
  { node, network, history, onStep, sockets, options, arbiter }: SimVmContext,
  { noise }: VmShape,
  make: Parameters<typeof simAccelerators>[0],
): SimHost {
  const verifyRam = node.world.seed % 8 === 0;
  const host = new SimHost(node, network, {
    sockets: sockets?.(network.sockets(node)),
    accelerators: simAccelerators(make),
    limits: { stopMs, heldOutput, colo: { ...simOptions, verifyRam, ...options } },
    step: step => void (node.dead || onStep(step)),
    openArbiter: arbiter && (() => Promise.resolve(arbiter(node))),
  });
  const side = node.name === 'P' ? 0 : 1;
  const chances = [0, 1].map(n => new Random(node.world.seed * 17 + n * 2 + side));
  host.taps.leaves = (n, frame) => {
    const step = stepOf(frame);
    if (step === undefined) history.speaks(node.name, 'an announcement');
    else if (chances[n].chance(noise ? 0.1 : 0)) return false;
    else history.packet(node.name, n, step);
    return true;
  };
  return host;
}
