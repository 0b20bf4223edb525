/**
 * A machine with everything around it: disks, network, COLO, monitors. Built from a spec, or
 * nothing is left open.
 */
import { existsSync } from 'node:fs';
import { type AccelChoice, type AccelName, chooseAccel } from '../../accel/choose.js';
import type { CpuModel } from '../../accel/contract.js';
import { defaultCpu, resolveCpu } from '../../accel/cpu-model.js';
import { AddonRam } from '../../accel/ram.js';
import { AddonVm } from '../../accel/vm.js';
import { Disposables } from '../../base/disposable.js';
import { asVmError, assert, VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import { BlockLayer } from '../../block/layer/layer.js';
import type { CredentialStore } from '../../block/nbd/credentials.js';
import type { CharBackend, Stdio } from '../../chardev/contract.js';
import { Colo } from '../../colo/colo.js';
import { PairIdentity } from '../../colo/identity.js';
import { defaultColoOptions } from '../../colo/options.js';
import type { StepHook } from '../../colo/steps.js';
import type { Host } from '../../host/ports.js';
import { Machine } from '../../machine/machine.js';
import type { MachineParts } from '../../machine/parts.js';
import type { MachineSpec } from '../../machine/spec.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import { registryFor } from '../../monitor/commands/all.js';
import { vmControl } from '../../monitor/control.js';
import { HmpMonitor, type Typist } from '../../monitor/hmp/monitor.js';
import { HmpShell } from '../../monitor/hmp/shell.js';
import type { Objects } from '../../monitor/objects/registry.js';
import { QmpServer } from '../../monitor/qmp/server.js';
import type { TraceSwitches } from '../../monitor/traces.js';
import type { VmControl } from '../../monitor/vm.js';
import type { QmpEvents } from '../../qapi/types.js';
import { blockDrive, blockNode } from '../options/check.js';
import type { Guest } from '../pair/join.js';
import { Chardevs } from './chardevs.js';
import { diskObstacle } from './disk-obstacle.js';
import { Network } from './network.js';
import { addObjects, credentialsOf, objectsOf } from './objects.js';

export interface VmWorld {
  readonly host: Host;
  readonly stdio: Stdio;
  readonly step: StepHook;
  readonly version: VmControl['version'];
  readonly traces: TraceSwitches;
  readonly typist?: Typist;
  /** A line for people. */
  note(line: string): void;
  /** The pair stands in another way than before. */
  pairChanged?(vm: VmControl): void;
  /** Lines go into this file from now on. */
  logInto(path: string): void;
}

/** The parts that the machine is given and the monitor needs too. */
interface Opened {
  block?: BlockLayer;
  network?: Network;
  chardevs?: Chardevs;
}

export class RunningVm {
  private constructor(
    readonly machine: Machine,
    private readonly colo: Colo,
    readonly control: VmControl,
    private readonly objects: Objects,
    private readonly monitors: Disposables,
  ) {}

  static async build(spec: MachineSpec, world: VmWorld): Promise<RunningVm> {
    const accel = chooseAccel(spec.accel); // before anything is opened
    const cpu = cpuOf(spec, accel);
    if (spec.accel === 'auto' && accel.name === 'soft')
      world.note('CPU: soft; why not KVM: colo doctor');
    const opened: Opened = {};
    const objects = objectsOf(world, opened);
    const machine = await buildMachine(
      spec,
      machineParts(world, opened, accel.name, { cpu, credentials: credentialsOf(objects) }),
      objects,
    );
    const { block, network, chardevs } = opened;
    assert(block && network && chardevs, 'the machine opened its parts');
    block.stopVm = () => machine.lifecycle.ioError();
    const monitors = new Disposables();
    const colo = new Colo({
      clock: world.host.clock,
      transports: world.host,
      lifecycle: machine.lifecycle,
      events: machine.events,
      options: { ...defaultColoOptions },
      xColo: spec.role === 'secondary',
      disks: {
        primary: () => block.primaryDisks(),
        secondary: () => block.secondaryDisks(),
      },
      flushDisks: () => block.flush(),
      images: block.images,
      diskObstacle: (how, live) => diskObstacle(block.queryNamedBlockNodes(), how, live),
      identity: new PairIdentity({ entropy: world.host.entropy, images: () => block.pairImages() }),
      startGuest: () => machine.startGuest(),
      outputs: () => network.netdevs.map(netdev => netdev.output),
      dropExports: async () => {
        if (block.nbd.address) await block.nbd.stop();
      },
      // Why it stands so is known when this turn of the main loop is over.
      pairChanged: () => void world.host.clock.timer(0, () => world.pairChanged?.(control)),
      report: line => world.note(line),
      step: world.step,
    });
    machine.lifecycle.shutdownGate = () => colo.guestShutdown();
    machine.lifecycle.startGate = () => colo.admitGuest();
    machine.lifecycle.takeImages = () => colo.takeImages();
    machine.onRunState(state => state === 'internal-error' && colo.guestFailed());
    const control = vmControl({
      machine,
      block,
      colo,
      network,
      chardevs,
      objects,
      traces: world.traces,
      clock: world.host.clock,
      kvmPresent: existsSync('/dev/kvm'),
      pid: process.pid,
      vcpuThreads: () => machine.accel.threadIds(),
      report: line => world.note(line),
      logInto: path => world.logInto(path),
      version: world.version,
    });
    const vm = new RunningVm(machine, colo, control, objects, monitors);
    chardevs.onMuxCommand((command, mux) =>
      command === 'quit'
        ? control.quit()
        : void new HmpShell(registryFor(control), control, false)
            .run('commit all')
            .then(text => mux.say(text)),
    );
    try {
      await addObjects(spec, objects, 'late');
      for (const monitor of spec.monitors)
        monitors.add(
          openMonitor(
            monitor.mode,
            chardevs.claim(monitor.chardev, `the ${monitor.mode.toUpperCase()} monitor`, 'monitor')
              .value,
            control,
            world,
          ),
        );
      if (spec.incoming !== undefined && comesByItself(spec.incoming))
        await colo.listen(spec.incoming);
      return vm;
    } catch (error) {
      await vm.dispose();
      throw error;
    }
  }

  /** For who decides when it may run. */
  get guest(): Guest {
    const { machine, colo } = this;
    return {
      get waits() {
        return (
          machine.lifecycle.pristine &&
          machine.spec.incoming === undefined &&
          !machine.spec.startPaused
        );
      },
      get held() {
        return colo.heldBack;
      },
      start: () => machine.startGuest(),
      askPeer: (uri, ms) => colo.askPeer(uri, ms),
    };
  }

  /**
   * Resolves when the guest runs, waits for `cont`, or waits for a migration. VmError: the state
   * that it was to go on from is no good.
   */
  async start(): Promise<void> {
    const { incoming } = this.machine.spec;
    await this.machine.startGuest();
    if (incoming === undefined || incoming === 'defer' || comesByItself(incoming)) return;
    await this.colo.load(incoming).catch((error: unknown) => {
      throw asVmError(error).during(`-incoming ${incoming}`);
    });
  }

  /** Of this process, wherever: COLO is not to build on what that left. */
  internalError(error: VmError): void {
    this.colo.internalError(error);
  }

  async dispose(): Promise<void> {
    await this.colo.depart('its process was ended in order');
    this.colo.dispose();
    await this.objects.close();
    await this.machine.dispose();
    this.monitors.dispose();
  }
}

const comesByItself = (incoming: string) =>
  incoming !== 'defer' && isAddress(parseMigrationUri(incoming, 'listen'));

/**
 * Objects that drives and chardevs may use are there before them, and end with a machine that
 * cannot be built.
 */
async function buildMachine(
  spec: MachineSpec,
  parts: MachineParts,
  objects: Objects,
): Promise<Machine> {
  try {
    await addObjects(spec, objects, 'early');
    return await Machine.build(spec, parts);
  } catch (error) {
    objects.dispose();
    throw error;
  }
}

function openMonitor(
  mode: 'qmp' | 'hmp',
  chr: CharBackend,
  control: VmControl,
  world: VmWorld,
): QmpServer | HmpMonitor {
  const monitorWorld = {
    wallMs: () => world.host.clock.wallMs(),
    log: (line: string) => world.note(line),
    typist: world.typist,
  };
  const registry = registryFor(control);
  return mode === 'qmp'
    ? new QmpServer(control, registry, chr, monitorWorld)
    : new HmpMonitor(control, registry, chr, monitorWorld);
}

/** What the guest is to see of its processors, if this host can show it. */
function cpuOf(spec: MachineSpec, accel: AccelChoice): CpuModel {
  if (accel.name === 'soft' && spec.cpus > 1)
    throw new VmError(
      `-smp ${spec.cpus}: the software CPU has one vCPU, and KVM is not used: ${accel.why}`,
      { hint: 'Use -smp 1.' },
    );
  return resolveCpu(
    spec.cpu ?? defaultCpu,
    accel.name,
    spec.topology ?? { sockets: 1, cores: spec.cpus, threads: 1 },
  );
}

function machineParts(
  world: VmWorld,
  opened: Opened,
  accel: AccelName,
  { cpu, credentials }: { cpu: CpuModel; credentials: CredentialStore },
): MachineParts {
  const { host } = world;
  return {
    clock: host.clock,
    files: host.files,
    entropy: host.entropy,
    report: line => world.note(line),
    createAccel: ({ ramBytes }) =>
      new AddonVm(new AddonRam(ramBytes), accel, { cpu, dirtyRing: true }),
    openDrives: async (spec, events) => {
      const block = await openDrives(spec, host, events, credentials);
      opened.block = block;
      return {
        claim: (name, device, properties) => block.claim(name, device, properties),
        list: () => block.manifest(),
        close: () => block.close(),
      };
    },
    openNet: async spec =>
      (opened.network = await Network.create(spec, host, line => world.note(line))),
    openChardevs: async spec =>
      (opened.chardevs = await Chardevs.create(spec.chardevs, {
        ...host,
        stdio: world.stdio,
        log: line => world.note(line),
      })),
  };
}

/** A guest that comes live may have its images in use until it is here. */
function sharesImages({ role, incoming }: MachineSpec): boolean {
  if (role === 'secondary' || incoming === undefined) return false;
  return incoming === 'defer' || comesByItself(incoming);
}

async function openDrives(
  spec: MachineSpec,
  host: Host,
  events: Events<QmpEvents>,
  credentials: CredentialStore,
): Promise<BlockLayer> {
  const block = new BlockLayer(host, events);
  block.graph.credentials = credentials;
  block.graph.opensInactive = sharesImages(spec);
  try {
    for (const blockdev of spec.blockdevs) {
      await block.graph.build(blockNode(blockdev)).catch((error: unknown) => {
        throw asVmError(error).during(`-blockdev node-name=${blockdev.nodeName}`);
      });
    }
    for (const drive of spec.drives) {
      await block.addDrive(blockDrive(drive)).catch((error: unknown) => {
        throw asVmError(error).during(`-drive id=${drive.id}`);
      });
    }
    block.graph.opensInactive = false;
    return block;
  } catch (error) {
    await block.close();
    throw error;
  }
}
