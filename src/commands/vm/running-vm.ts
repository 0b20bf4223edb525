/** A machine with everything around it: disks, network, COLO, monitors. Built from a spec, or nothing is left open. */
import { existsSync } from 'node:fs';
import { type AccelName, chooseAccel } from '../../accel/choose.js';
import { AddonRam } from '../../accel/ram.js';
import { AddonVm } from '../../accel/vm.js';
import { Disposables } from '../../base/disposable.js';
import { asVmError, assert } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import { BlockLayer } from '../../block/layer.js';
import type { CharBackend, Stdio } from '../../chardev/contract.js';
import { createChardev } from '../../chardev/create.js';
import { Colo } from '../../colo/colo.js';
import { defaultColoOptions } from '../../colo/options.js';
import type { StepHook } from '../../colo/steps.js';
import type { Host } from '../../host/ports.js';
import { Machine } from '../../machine/machine.js';
import type { MachineParts } from '../../machine/parts.js';
import type { MachineSpec } from '../../machine/spec.js';
import { registryFor } from '../../monitor/commands/all.js';
import { vmControl } from '../../monitor/control.js';
import { HmpMonitor } from '../../monitor/hmp/monitor.js';
import { QmpServer } from '../../monitor/qmp/server.js';
import type { TraceSwitches } from '../../monitor/traces.js';
import type { VmControl } from '../../monitor/vm.js';
import type { QmpEvents } from '../../qapi/types.js';
import { blockDrive } from '../options/check.js';
import { Network } from './network.js';

export interface VmWorld {
  readonly host: Host;
  readonly stdio: Stdio;
  readonly step: StepHook;
  readonly version: VmControl['version'];
  readonly traces: TraceSwitches;
  /** A line for people. */
  note(line: string): void;
}

/** The parts that the machine is given and the monitor needs too. */
interface Opened {
  block?: BlockLayer;
  network?: Network;
  chardevs?: ReadonlyMap<string, CharBackend>;
}

export class RunningVm {
  private constructor(
    readonly machine: Machine,
    private readonly colo: Colo,
    readonly control: VmControl,
    private readonly monitors: Disposables,
  ) {}

  static async build(spec: MachineSpec, world: VmWorld): Promise<RunningVm> {
    const accel = chooseAccel(spec.accel); // before anything is opened
    if (spec.accel === 'auto') world.note(`CPU: ${accel.name} (${accel.why})`);
    const opened: Opened = {};
    const machine = await Machine.build(spec, machineParts(world, opened, accel.name));
    const { block, network, chardevs } = opened;
    assert(block && network && chardevs, 'the machine opened its parts');
    block.stopVm = () => machine.lifecycle.ioError();
    const monitors = new Disposables();
    const colo = new Colo({
      clock: world.host.clock,
      sockets: world.host.sockets,
      lifecycle: machine.lifecycle,
      events: machine.events,
      options: { ...defaultColoOptions },
      disks: () => block.replicated(spec.incoming === undefined ? 'primary' : 'secondary'),
      outputs: () => network.netdevs.map(netdev => netdev.output),
      dropExports: async () => {
        if (block.nbd.address) await block.nbd.stop();
      },
      step: world.step,
    });
    machine.lifecycle.shutdownGate = () => colo.guestShutdown();
    const control = vmControl({ machine, block, colo, netdevs: () => network.netdevs, chardevs, traces: world.traces, clock: world.host.clock, kvmPresent: existsSync('/dev/kvm'), pid: process.pid, version: world.version });
    const vm = new RunningVm(machine, colo, control, monitors);
    try {
      for (const monitor of spec.monitors) monitors.add(openMonitor(monitor.mode, chardevs.get(monitor.chardev), control, world));
      if (spec.incoming !== undefined) await colo.listen(spec.incoming);
      return vm;
    } catch (error) {
      await vm.dispose();
      throw error;
    }
  }

  start(): void {
    this.machine.start();
  }

  async dispose(): Promise<void> {
    this.colo.dispose();
    await this.machine.dispose();
    this.monitors.dispose();
  }
}

function openMonitor(mode: 'qmp' | 'hmp', chr: CharBackend | undefined, control: VmControl, world: VmWorld): QmpServer | HmpMonitor {
  assert(chr, 'the chardev of a monitor is open');
  const monitorWorld = { wallMs: () => world.host.clock.wallMs(), log: (line: string) => world.note(line) };
  const registry = registryFor(control);
  return mode === 'qmp' ? new QmpServer(control, registry, chr, monitorWorld) : new HmpMonitor(control, registry, chr, monitorWorld);
}

function machineParts(world: VmWorld, opened: Opened, accel: AccelName): MachineParts {
  const { host } = world;
  return {
    clock: host.clock,
    files: host.files,
    entropy: host.entropy,
    report: line => world.note(line),
    createAccel: ({ ramBytes }) => new AddonVm(new AddonRam(ramBytes), accel),
    openDrives: async (spec, events) => {
      const block = await openDrives(spec, host, events);
      opened.block = block;
      return {
        claim: (id, device) => block.claim(id, device),
        list: () => block.manifest(),
        close: () => block.close(),
      };
    },
    openNet: async spec => (opened.network = await Network.create(spec, host, line => world.note(line))),
    openChardevs: async spec => (opened.chardevs = await openChardevs(spec, world)),
  };
}

async function openDrives(spec: MachineSpec, host: Host, events: Events<QmpEvents>): Promise<BlockLayer> {
  const block = new BlockLayer(host, events);
  try {
    for (const drive of spec.drives) {
      await block.addDrive(blockDrive(drive)).catch((error: unknown) => {
        throw asVmError(error).during(`-drive id=${drive.id}`);
      });
    }
    return block;
  } catch (error) {
    await block.close();
    throw error;
  }
}

async function openChardevs(spec: MachineSpec, world: VmWorld): Promise<ReadonlyMap<string, CharBackend>> {
  const open = new Map<string, CharBackend>();
  const charWorld = { files: world.host.files, sockets: world.host.sockets, clock: world.host.clock, stdio: world.stdio, log: (line: string) => world.note(line) };
  try {
    for (const { id, backend } of spec.chardevs) open.set(id, await createChardev(id, backend, charWorld));
    return open;
  } catch (error) {
    for (const chr of open.values()) chr.dispose();
    throw error;
  }
}
