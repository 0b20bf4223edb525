/**
 * The composition root: a spec and opened parts become a machine, or a VmError that names the
 * option, and then nothing is left open.
 */
import { placeOfRecord } from '../arbiter/address.js';
import type { VmAccel } from '../accel/contract.js';
import { describeCpu } from '../accel/cpu-features.js';
import { asVmError, assert } from '../base/errors.js';
import { Events } from '../base/events.js';
import { event, tracer } from '../base/trace.js';
import type { Manifest } from '../migration/contract.js';
import type { QmpEvents, RunState } from '../qapi/types.js';
import { Board } from './board.js';
import { BrokenDevices } from './broken-devices.js';
import { type CheckedSpec, videoBytes } from './check-spec.js';
import { allDevices } from './implied-devices.js';
import type { DeviceInfo, MachineControl, PciInfo, UsbInfo, ShutdownCause } from './contract.js';
import { hasFirmware, loadFirmware, placeFirmware, romBytes } from './firmware.js';
import type { FirmwareFile } from './firmware-files.js';
import { deviceInfo, pciInfo } from './inspect.js';
import { loadRoms } from './roms.js';
import { VmLifecycle } from './lifecycle.js';
import { type KernelPlan, loadKernel } from './load-kernel.js';
import { withBootRegisters } from './loader/cpu-image.js';
import type { LoadPlan } from './loader/linux.js';
import type { ChardevProvider, DriveProvider, MachinePorts, NetProvider } from './ports.js';

const trace = tracer('machine', {
  guest_reset: event<{ why: string }>(),
});

interface MachineBackends<
  D extends DriveProvider = DriveProvider,
  N extends NetProvider = NetProvider,
  C extends ChardevProvider = ChardevProvider,
> {
  readonly accel: VmAccel;
  readonly drives: D;
  readonly net: N;
  readonly chardevs: C;
}

type Ended = { cause: ShutdownCause; status: number };

export class Machine<B extends MachineBackends = MachineBackends> implements MachineControl {
  readonly ended: Promise<Ended>;
  readonly lifecycle: VmLifecycle;
  readonly board: Board;
  readonly accel: VmAccel;
  private readonly plan: LoadPlan | undefined;
  private end: (ended: Ended) => void = () => undefined;
  private disposed = false;

  private constructor(
    readonly spec: CheckedSpec,
    readonly events: Events<QmpEvents>,
    readonly backends: B,
    files: MachineFiles,
    private readonly ports: MachinePorts,
  ) {
    this.accel = backends.accel;
    const { plan, kernel, firmware, roms } = files;
    this.plan = plan;
    this.ended = new Promise(resolve => (this.end = resolve));
    const serials = spec.serials.map(
      (id, n) => backends.chardevs.claim(id, `serial port ${n + 1}`).value,
    );
    const devices = {
      specs: allDevices(spec),
      boot: spec.boot,
      machineType: spec.machineType,
      uuid: spec.uuid,
      smbios: spec.smbios,
      kernel,
      backends: {
        drive: backends.drives.claim.bind(backends.drives),
        netdev: backends.net.claim.bind(backends.net),
        chardev: (id: string, device: string) => backends.chardevs.claim(id, device).value,
        rom: (device: string) => roms.get(device),
      },
    };
    const brokenDevices = new BrokenDevices(ports.clock, events, line => ports.report(line));
    this.board = new Board(backends.accel, ports.clock, serials, devices, {
      power: {
        reset: why => this.guestReset(why),
        powerOff: () => this.lifecycle.requestShutdown(),
      },
      exit: status => ports.clock.timer(0, () => this.finish({ cause: 'guest-shutdown', status })),
      broken: (id, why, thrown) => brokenDevices.tell(id, why, thrown),
    });
    this.lifecycle = new VmLifecycle({
      accel: backends.accel,
      board: this.board,
      clock: ports.clock,
      events,
      initial: spec.incoming !== undefined ? 'inmigrate' : 'prelaunch',
      startPaused: spec.startPaused,
      stopLimitMs: ports.stopLimitMs,
      manifest: () => this.manifest(),
      powerCycle: () => this.powerCycle(),
      shutdown: reason => void this.shutdown(reason),
      announce: () => backends.net.announce(),
      noReboot: spec.noReboot,
      get bootable() {
        return plan !== undefined || hasFirmware(backends.accel.ram);
      },
      report: line => ports.report(line),
    });
    if (firmware) placeFirmware(this.accel.ram, firmware);
    this.powerCycle();
  }

  static async build<D extends DriveProvider, N extends NetProvider, C extends ChardevProvider>(
    spec: CheckedSpec,
    ports: MachinePorts<D, N, C>,
  ): Promise<Machine<MachineBackends<D, N, C>>> {
    const undo: (() => void | Promise<void>)[] = [];
    try {
      const events = new Events<QmpEvents>();
      const { plan, kernel } = await loadKernel(spec, ports);
      const firmware = await loadFirmware(spec, ports.files);
      const roms = await loadRoms(spec, ports.files);
      const chardevs = await ports.openChardevs(spec);
      undo.push(() => chardevs.close());
      const drives = await ports.openDrives(spec, events);
      undo.push(() => drives.close());
      const net = await ports.openNet(spec);
      undo.push(() => net.close());
      const accel = ports.createAccel({
        ramBytes: spec.ramBytes,
        romBytes: romBytes(firmware),
        videoBytes: videoBytes(spec),
      });
      undo.push(() => accel.dispose());
      const backends = { accel, drives, net, chardevs };
      return new Machine(spec, events, backends, { plan, kernel, firmware, roms }, ports);
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
    this.startGuest().catch((error: unknown) => this.ports.report(asVmError(error).message));
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
    this.backends.net.close();
    await this.backends.drives.close();
    await this.backends.chardevs.close();
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

  usbInfo(): UsbInfo[] {
    return this.board.piix3.usbInfo();
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
    this.board.reset({ firmware: !this.plan && hasFirmware(this.accel.ram) });
    if (!this.plan) return;
    const { ram, cpus } = this.accel;
    const put = (gpa: number, bytes: Uint8Array) =>
      assert(ram.write(gpa, bytes), `boot data at 0x${gpa.toString(16)} is in RAM`);
    for (const { gpa, bytes } of this.board.lowTables()) put(gpa, bytes);
    for (const { gpa, bytes } of this.plan.pieces) if (bytes.length > 0) put(gpa, bytes);
    if (this.plan.seed) {
      const seed = new Uint8Array(this.plan.seed.length);
      this.ports.entropy.fill(seed);
      put(this.plan.seed.gpa, seed);
    }
    cpus[0].load(withBootRegisters(cpus[0].save(), this.plan.registers));
  }

  private manifest(): Manifest {
    const { spec, backends } = this;
    const { arbiter: seat } = spec;
    const { ram } = backends.accel;
    return {
      machineType: spec.machineType,
      ramBytes: spec.ramBytes,
      ...(ram.extraBytes > 0 && { romBytes: ram.extraBytes }),
      ...(ram.video && { videoBytes: ram.video.bytes.length }),
      cpus: spec.cpus,
      cpu: describeCpu(backends.accel.cpuModel),
      accel: backends.accel.name,
      devices: this.board.devices.sections(),
      disks: backends.drives.manifest(),
      netdevs: backends.net.list(),
      ...(seat && {
        seat: { arbiter: placeOfRecord(seat.address), node: seat.node, peer: seat.peer },
      }),
    };
  }
}

/** Of the host, read before anything is opened. */
interface MachineFiles extends KernelPlan {
  readonly firmware: FirmwareFile | undefined;
  readonly roms: ReadonlyMap<string, Buffer>;
}
