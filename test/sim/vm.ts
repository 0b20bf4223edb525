/**
 * One side of a simulated pair: the real block layer, NBD, network buffers, lifecycle and COLO over
 * a simulated host, with a guest that is small enough to compare. Wired as src/vm does it.
 */
import { Events } from '../../src/base/events.js';
import type { ReplicationPrimary } from '../../src/block/drivers/replication/primary.js';
import { BlockLayer } from '../../src/block/layer/layer.js';
import { parseDrive } from '../../src/block/options/options.js';
import { Colo } from '../../src/colo/colo.js';
import { PairIdentity } from '../../src/colo/identity.js';
import { type ColoOptions, defaultColoOptions } from '../../src/colo/options.js';
import type { ColoStep } from '../../src/colo/steps.js';
import type { Sockets } from '../../src/host/ports.js';
import { DeviceSet } from '../../src/hw/device-set.js';
import { VmLifecycle } from '../../src/machine/lifecycle.js';
import type { Manifest } from '../../src/migration/contract.js';
import { TapNetdev } from '../../src/net/netdev/tap.js';
import { Announcer } from '../../src/net/packet/announce.js';
import type { QmpEvents } from '../../src/qapi/types.js';
import { Random } from '../support/random.js';
import type { SimStorage } from '../support/sim/files.js';
import type { SimNetwork } from '../support/sim/network.js';
import type { SimNode } from '../support/sim/node.js';
import { SimAccel } from './accel.js';
import { SimBallast, SimBlk, SimButton, SimNic, SimProbe } from './devices.js';
import type { History } from './history.js';
import { DiskModel } from './model.js';
import { Program } from './program.js';
import type { SimRam } from './ram.js';
import { type SimTap, simTap } from './tap.js';

export const ports = { migration: 8888, nbd: 8889 } as const;

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
  retryMs: 20,
  syncTimeoutMs: 400,
  chunkPages: 3,
  turnBytes: 8 * 4096,
  precopyEnoughPages: 4,
};
const stopLimitMs = 60;
const bulk = 64 * 1024;

/** What a machine is built of; both sides of a pair alike. */
export interface VmShape {
  readonly disks: number;
  readonly nics: number;
  readonly overlays: 'memory' | 'qcow2';
  /** A filter-mirror on the first nic. */
  readonly copies: boolean;
  /** Device state that does not fit into the connection's window. */
  readonly bulky: boolean;
  /** When its environment is unkind all the time. */
  readonly noise: boolean;
}

export interface VmWorld {
  readonly node: SimNode;
  readonly network: SimNetwork;
  readonly history: History;
  onStep(step: ColoStep): void;
  /** COLO's connection goes over others than those of the simulated network. */
  readonly sockets?: Sockets;
}

export type Role = 'primary' | 'secondary';

export class Vm {
  readonly events = new Events<QmpEvents>();
  readonly block: BlockLayer;
  readonly netdevs: TapNetdev[] = [];
  readonly taps: SimTap[] = [];
  readonly lifecycle: VmLifecycle;
  readonly colo: Colo;
  readonly options: ColoOptions;
  readonly exits: string[] = [];
  readonly images: string[];
  /** Snapshots by the oracle's numbers: the state that was checked last, and that was loaded. */
  parsedSerial = 0;
  /** An earlier process on this host was this machine. */
  bornAgain = false;
  /** It waits for a primary. */
  listening = false;
  /** The guest is over; so is the process. */
  ended = false;
  private readonly accel: SimAccel;
  private readonly devices: DeviceSet;
  private readonly program: Program;
  private readonly probe: SimProbe;
  private readonly announcer: Announcer;

  private constructor(
    private readonly world: VmWorld,
    readonly role: Role,
    readonly shape: VmShape,
  ) {
    const { node, network, history } = world;
    const host = { clock: node.clock, files: node.files, sockets: network.sockets(node) };
    this.images = Array.from(
      { length: shape.disks },
      (_, n) => `/${node.host.name.toLowerCase()}${n}.img`,
    );
    this.block = new BlockLayer(host, this.events);
    this.accel = new SimAccel(node, { slowStop: shape.noise ? 0.04 : 0 });
    this.devices = new DeviceSet(this.accel.face, node.clock, (_id, _why, thrown) => {
      throw thrown;
    });
    this.probe = this.devices.add(
      new SimProbe(
        () => history.snapshot(this),
        serial => (this.parsedSerial = serial),
      ),
    );
    const button = this.devices.add(new SimButton('button'));
    if (shape.bulky) this.devices.add(new SimBallast('ballast', bulk));
    this.program = new Program(this.accel, button, {
      nextId: () => node.world.nextId(),
      step: (id, parent) => history.step(id, parent),
      powerOff: () => this.lifecycle.requestShutdown(),
    });
    this.announcer = new Announcer(node.clock);
    this.lifecycle = this.makeLifecycle(button);
    this.options = { ...simOptions, verifyRam: node.world.seed % 8 === 0 };
    this.colo = this.makeColo({ ...host, sockets: world.sockets ?? host.sockets });
    this.lifecycle.shutdownGate = () => this.colo.guestShutdown();
    this.lifecycle.startGate = () => this.colo.admitGuest();
    this.lifecycle.states.on(state => state === 'internal-error' && this.colo.guestFailed());
    this.block.stopVm = () => this.lifecycle.ioError();
    this.listen();
  }

  /** Its files must be there. The devices find their disks, and the power is on. */
  static async build(world: VmWorld, role: Role, shape: VmShape): Promise<Vm> {
    const vm = new Vm(world, role, shape);
    for (let n = 0; n < shape.disks; n++) await vm.addDisk(n);
    for (let n = 0; n < shape.nics; n++) vm.addNic(n);
    if (role === 'secondary') await vm.export();
    vm.powerCycle();
    return vm;
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
  get ram(): SimRam {
    return this.accel.ram;
  }
  get step(): number {
    return this.program.lastStep;
  }
  get loadedSerial(): number {
    return this.probe.state.serial;
  }
  /** What a process was at its end is no guest that runs. */
  get running(): boolean {
    return !this.node.dead && this.lifecycle.running && this.accel.running;
  }
  get disks(): readonly SimBlk[] {
    return this.program.disks;
  }

  /** The machine is another process now: a guest that boots here has what the old one left. */
  goOnFrom(old: Vm): void {
    this.bornAgain = true;
    this.program.boot(old.step);
    this.disks.forEach((disk, n) => disk.model.become(old.disks[n].model));
  }

  /** The vCPU stops by itself, and cannot go on. */
  cpuFails(message: string): void {
    this.accel.halt({ kind: 'internal-error', message });
  }

  /** -S is not given: the guest runs. */
  start(): void {
    void this.lifecycle.cont();
  }

  listenForPrimary(uri = `tcp:0:${ports.migration}`): ReturnType<Colo['listen']> {
    this.listening = true;
    return this.colo.listen(uri);
  }

  /** As the procedure says: a replica under each disk, then migrate. */
  async attachReplicas(host = 'secondary', port: number = ports.nbd): Promise<void> {
    for (const n of this.images.keys()) {
      const server = `file.driver=nbd,file.host=${host},file.port=${port}`;
      const file = `${server},file.export=colo-disk${n},file.x-request-timeout=1`;
      await this.block.driveAdd(
        `if=none,driver=replication,mode=primary,${file},node-name=replica${n}`,
      );
      await this.block.blockdevChange({ parent: `colo-disk${n}`, node: `replica${n}` });
    }
  }

  /** different: what the secondary has on its disks may be anything, and the user says so. */
  async protect(different = false): Promise<void> {
    await this.attachReplicas();
    if (different) this.colo.syncFrom = 'primary';
    this.colo.migrate(`tcp:secondary:${ports.migration}`);
  }

  /** What their nodes say of themselves. */
  get replicas(): unknown[] {
    const nodes = this.images.map((_, n) => this.block.graph.find(`replica${n}`));
    return nodes.map(node => (node?.driver as ReplicationPrimary).describe().state);
  }

  /** All but the probe. */
  deviceStates(): Buffer[] {
    const [, ...seen] = this.devices.all;
    const devices = seen.map(device => device.vmstate.save(device.state));
    return [...devices, ...this.accel.cpus.map(cpu => cpu.save())];
  }

  /** A frame comes from the network. */
  receive(frame: Uint8Array): void {
    for (const tap of this.taps) tap.arrive(frame);
  }

  announce(): void {
    this.announcer.start(() => this.netdevs.forEach(netdev => netdev.announce()));
  }

  /** The end of the process, in order. */
  async quit(): Promise<void> {
    this.images.forEach((_, n) => this.imageOf(n));
    this.lifecycle.beginEnd();
    try {
      await this.colo.depart('its process was ended in order');
      this.colo.dispose();
      await this.lifecycle.enterShutdown();
      await this.block.close();
    } finally {
      this.node.crash(true);
    }
  }

  driveId(n: number): string {
    return this.role === 'primary' ? `colo-disk${n}` : `active-disk${n}`;
  }

  private readonly targets = new Set<number>();
  /** The file that the guest's disk is in now: a job may have moved it. */
  imageOf(n: number): string {
    const drive = this.block.list().find(({ id }) => id === this.driveId(n));
    if (drive?.backend.nodeName === 'target') this.targets.add(n);
    return this.targets.has(n) ? '/target' : this.images[n];
  }

  private async addDisk(n: number): Promise<void> {
    if (this.role === 'primary') await this.addQuorum(n);
    else await this.addSecondaryDisk(n);
    const device = `virtio-disk${n}`;
    const disk = new SimBlk(device, this.block.claim(this.driveId(n), device), new DiskModel(), {
      completed: (request, failed) => this.program.completed(n, request, failed),
      wrong: what => this.node.world.fail(`${this.name}: ${what}`),
    });
    this.program.disks.push(this.devices.add(disk));
  }

  private async addQuorum(n: number): Promise<void> {
    const child = `children.0.file.filename=${this.images[n]},children.0.driver=raw`;
    await this.block.addDrive(
      parseDrive(
        `if=virtio,id=colo-disk${n},driver=quorum,read-pattern=fifo,vote-threshold=1,${child}`,
      ),
    );
  }

  private async addSecondaryDisk(n: number): Promise<void> {
    await this.block.addDrive(
      parseDrive(`if=none,id=colo-disk${n},file.filename=${this.images[n]},driver=raw`),
    );
    const hidden = `file.backing.driver=qcow2,file.backing.file.filename=/hidden${n}`;
    const qcow2 = `file.driver=qcow2,file.file.filename=/active${n},${hidden}`;
    const overlays =
      this.shape.overlays === 'qcow2'
        ? `${qcow2},file.backing.backing`
        : 'file.driver=memory,file.backing';
    await this.block.addDrive(
      parseDrive(
        `if=virtio,id=active-disk${n},driver=replication,mode=secondary,${overlays}=colo-disk${n}`,
      ),
    );
  }

  private async export(): Promise<void> {
    await this.block.nbd.start({ kind: 'tcp', host: '0', port: ports.nbd });
    for (const n of this.images.keys())
      this.block.nbdServerAdd({ device: `colo-disk${n}`, writable: true });
  }

  private addNic(n: number): void {
    const { node, history } = this.world;
    const chance = new Random(node.world.seed * 17 + n * 2 + (this.name === 'P' ? 0 : 1));
    const full = () => chance.chance(this.shape.noise ? 0.1 : 0);
    const tap = simTap(node, history, { n, full });
    this.taps.push(tap);
    const netdev = new TapNetdev(`hn${n}`, tap, node.clock, { packets: 40, bytes: 4096 });
    this.netdevs.push(netdev);
    const host = {
      room: () => void this.program.sendPending(),
      receive: (frame: Uint8Array) => this.program.received(frame),
    };
    this.program.nics.push(this.devices.add(new SimNic(`net${n}`, netdev, host)));
  }

  private makeLifecycle(pm: SimButton): VmLifecycle {
    const { node } = this.world;
    return new VmLifecycle({
      accel: this.accel.face,
      board: { devices: this.devices, pm },
      clock: node.clock,
      events: this.events,
      initial: this.role === 'secondary' ? 'inmigrate' : 'prelaunch',
      startPaused: false,
      stopLimitMs,
      manifest: () => this.manifest(),
      powerCycle: () => this.powerCycle(),
      shutdown: () => void this.shutdown(),
      announce: () => this.announce(),
      noReboot: false,
      bootable: true,
      report: line => node.world.note(this.name, line),
    });
  }

  private makeColo(host: {
    clock: SimNode['clock'];
    files: SimNode['files'];
    sockets: Sockets;
  }): Colo {
    const { node } = this.world;
    const chance = new Random(node.world.seed * 31 + (this.name === 'P' ? 0 : 1));
    const shell = {
      run: () => {
        throw new Error('there is no shell here');
      },
    };
    return new Colo({
      clock: node.clock,
      transports: { ...host, shell },
      lifecycle: this.lifecycle,
      events: this.events,
      options: this.options,
      xColo: true,
      disks: {
        primary: () => this.block.primaryDisks(),
        secondary: () => this.block.secondaryDisks(),
      },
      flushDisks: () => this.block.flush(),
      images: this.block.images,
      diskObstacle: () => undefined,
      identity: new PairIdentity({
        entropy: { fill: bytes => void bytes.forEach((_, n) => (bytes[n] = chance.below(256))) },
        images: () => this.block.pairImages(),
      }),
      startGuest: () => this.lifecycle.cont(),
      outputs: () => this.netdevs.map(netdev => netdev.output),
      dropExports: async () => {
        if (this.block.nbd.address) await this.block.nbd.stop();
      },
      report: line => node.world.note(this.name, line),
      step: step => node.dead || this.world.onStep(step),
    });
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
    this.lifecycle.states.on((state, previous) => {
      if (state !== 'colo' && previous !== 'colo') world.note(this.name, `${previous} -> ${state}`);
    });
  }

  private manifest(): Manifest {
    const cpu = {
      model: 'sim',
      vendor: 'AuthenticAMD',
      signature: 0x60fb1,
      features: ['fpu'],
      sockets: 1,
      cores: 1,
      threads: 1,
    };
    return {
      ramBytes: this.ram.size,
      cpus: 1,
      cpu,
      accel: 'sim',
      devices: this.devices.sections(),
      disks: this.block.manifest(),
      netdevs: this.netdevs.map(({ id }) => id),
    };
  }

  private powerCycle(): void {
    this.accel.reset();
    this.devices.reset();
    this.program.boot();
  }

  private async shutdown(): Promise<void> {
    if (this.node.dead) return;
    this.node.world.note(this.name, 'powered off');
    this.ended = true;
    await this.lifecycle.enterShutdown();
  }

  /** Everything that its guest was told is in its images. */
  checkImages(): void {
    for (const [n, disk] of this.disks.entries()) {
      const path = this.imageOf(n);
      const wrong = disk.model.differs(this.storage.bytes(path));
      if (wrong) this.node.world.fail(`${this.name} survives, but '${path}' has ${wrong}`);
    }
  }
}
