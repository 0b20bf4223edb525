/**
 * The composition root: a spec and opened parts become a machine, or a VmError that names the
 * option, and then nothing is left open.
 */
import type { VmAccel } from '../accel/contract.js';
import { describeCpu } from '../accel/cpu-features.js';
import { asVmError, assert } from '../base/errors.js';
import { Events } from '../base/events.js';
import { event, tracer } from '../base/trace.js';
import type { Manifest } from '../migration/contract.js';
import type { QmpEvents, RunState } from '../qapi/types.js';
import { Board } from './board.js';
import { BrokenDevices } from './broken-devices.js';
import { allDevices, type CheckedSpec } from './check-spec.js';
import type { DeviceInfo, MachineControl, PciInfo, ShutdownCause } from './contract.js';
import { deviceInfo, pciInfo } from './inspect.js';
import { VmLifecycle } from './lifecycle.js';
import { withBootRegisters } from './loader/cpu-image.js';
import { type LoadPlan, planLinux } from './loader/linux.js';
import { Low } from './loader/memory-map.js';
import type { ChardevProvider, DriveProvider, MachineParts, NetProvider } from './parts.js';

const trace = tracer('machine', {
  guest_reset: event<{ why: string }>(),
});

interface Opened {
  accel: VmAccel;
  drives: DriveProvider;
  net: NetProvider;
  chardevs: ChardevProvider;
}

type Ended = { cause: ShutdownCause; status: number };

export class Machine implements MachineControl {
  readonly ended: Promise<Ended>;
  readonly lifecycle: VmLifecycle;
  readonly board: Board;
  readonly accel: VmAccel;
  private end: (ended: Ended) => void = () => undefined;
  private disposed = false;

  private constructor(
    readonly spec: CheckedSpec,
    readonly events: Events<QmpEvents>,
    private readonly opened: Opened,
    private readonly plan: LoadPlan | undefined,
    private readonly parts: MachineParts,
  ) {
    this.accel = opened.accel;
    this.ended = new Promise(resolve => (this.end = resolve));
    const serials = spec.serials.map(
      (id, n) => opened.chardevs.claim(id, `serial port ${n + 1}`).value,
    );
    const devices = {
      specs: allDevices(spec),
      backends: {
        drive: opened.drives.claim.bind(opened.drives),
        netdev: opened.net.claim.bind(opened.net),
      },
    };
    const brokenDevices = new BrokenDevices(parts.clock, events, line => parts.report(line));
    this.board = new Board(opened.accel, parts.clock, serials, devices, {
      power: {
        reset: why => this.guestReset(why),
        powerOff: () => this.lifecycle.requestShutdown(),
      },
      exit: status => parts.clock.timer(0, () => this.finish({ cause: 'guest-shutdown', status })),
      broken: (id, why, thrown) => brokenDevices.tell(id, why, thrown),
    });
    this.lifecycle = new VmLifecycle({
      accel: opened.accel,
      board: this.board,
      clock: parts.clock,
      events,
      initial: spec.incoming !== undefined ? 'inmigrate' : 'prelaunch',
      startPaused: spec.startPaused,
      manifest: () => this.manifest(),
      powerCycle: () => this.powerCycle(),
      shutdown: reason => void this.shutdown(reason),
      announce: () => opened.net.announce(),
      noReboot: spec.noReboot,
      bootable: plan !== undefined,
      report: line => parts.report(line),
    });
    this.powerCycle();
  }

  static async build(spec: CheckedSpec, parts: MachineParts): Promise<Machine> {
    const undo: (() => void | Promise<void>)[] = [];
    try {
      const events = new Events<QmpEvents>();
      const plan = await loadPlan(spec, parts);
      const chardevs = await parts.openChardevs(spec);
      undo.push(() => chardevs.close());
      const drives = await parts.openDrives(spec, events);
      undo.push(() => drives.close());
      const net = await parts.openNet(spec);
      undo.push(() => net.close());
      const accel = parts.createAccel({ ramBytes: spec.ramBytes });
      undo.push(() => accel.dispose());
      return new Machine(spec, events, { accel, drives, net, chardevs }, plan, parts);
    } catch (error) {
      for (const close of undo.reverse()) await close();
      throw error;
    }
  }

  get runState(): RunState {
    return this.lifecycle.state;
  }

  get running(): boolean {
    return this.lifecycle.running;
  }

  onRunState(fn: (state: RunState, previous: RunState) => void): { dispose(): void } {
    return this.lifecycle.states.on(fn);
  }

  start(): void {
    this.startGuest().catch((error: unknown) => this.parts.report(asVmError(error).message));
  }

  /** As start(). VmError: the guest may not run; the machine waits. */
  async startGuest(): Promise<void> {
    if (this.spec.incoming === undefined && !this.spec.startPaused) await this.cont();
  }

  cont(): Promise<void> {
    return this.lifecycle.cont();
  }

  stop(): Promise<void> {
    return this.lifecycle.stop();
  }

  reset(): Promise<void> {
    return this.lifecycle.reset(false, 'host-qmp-system-reset');
  }

  checkAnnounceable(): void {
    this.lifecycle.checkAnnounceable();
  }

  powerdown(): void {
    this.lifecycle.powerdown();
  }

  quit(cause: ShutdownCause): void {
    this.events.emit('SHUTDOWN', { guest: false, reason: cause });
    this.finish({ cause, status: 0 });
  }

  async dispose(): Promise<void> {
    if (this.disposed) return;
    this.disposed = true;
    this.lifecycle.beginEnd();
    await this.lifecycle.enterShutdown();
    this.accel.dispose();
    this.opened.net.close();
    await this.opened.drives.close();
    this.opened.chardevs.close();
    this.finish({ cause: 'host-signal', status: 0 });
  }

  whileStopped<T>(fn: () => T): Promise<T> {
    return this.lifecycle.whileStopped(fn);
  }

  deviceInfo(): DeviceInfo[] {
    return this.board.devices.all.map(device =>
      deviceInfo(device, this.board.places.get(device.id) ?? ''),
    );
  }

  pciInfo(): PciInfo[] {
    return this.board.pci.functions().map(pciInfo);
  }

  private guestReset(why: string): void {
    trace.guest_reset?.({ why });
    this.lifecycle.requestReset();
  }

  private finish(ended: Ended): void {
    this.lifecycle.beginEnd();
    this.end(ended);
  }

  private async shutdown(reason: 'guest-shutdown' | 'guest-reset'): Promise<void> {
    await this.lifecycle.enterShutdown();
    this.events.emit('SHUTDOWN', { guest: true, reason });
    if (this.spec.noShutdown && reason === 'guest-shutdown') this.events.emit('STOP', {});
    else this.finish({ cause: reason, status: 0 });
  }

  /** Chips, devices and RAM as after power-on. A secondary's RAM comes from its peer. */
  private powerCycle(): void {
    this.accel.reset();
    this.board.reset();
    if (!this.plan) return;
    const { ram, cpus } = this.accel;
    const put = (gpa: number, bytes: Uint8Array) =>
      assert(ram.write(gpa, bytes), `boot data at 0x${gpa.toString(16)} is in RAM`);
    put(Low.ACPI, this.board.acpi());
    for (const { gpa, bytes } of this.plan.pieces) if (bytes.length > 0) put(gpa, bytes);
    const seed = new Uint8Array(this.plan.seed.length);
    this.parts.entropy.fill(seed);
    put(this.plan.seed.gpa, seed);
    cpus[0].load(withBootRegisters(cpus[0].save(), this.plan.registers));
  }

  private manifest(): Manifest {
    const { spec, opened } = this;
    return {
      ramBytes: spec.ramBytes,
      cpus: spec.cpus,
      cpu: describeCpu(opened.accel.cpuModel),
      accel: opened.accel.name,
      devices: this.board.devices.sections(),
      disks: opened.drives.list(),
      netdevs: opened.net.list(),
    };
  }
}

async function loadPlan(spec: CheckedSpec, parts: MachineParts): Promise<LoadPlan | undefined> {
  if (spec.kernel === undefined) return undefined;
  const file = async (option: string, path: string) => {
    try {
      return { path, bytes: await parts.files.readFile(path) };
    } catch (error) {
      throw asVmError(error).during(`${option} ${path}`);
    }
  };
  const kernel = await file('-kernel', spec.kernel);
  const initrd = spec.initrd === undefined ? undefined : await file('-initrd', spec.initrd);
  return planLinux({
    kernel,
    initrd,
    append: spec.append,
    ramBytes: spec.ramBytes,
    rsdp: Low.ACPI,
  });
}
