/**
 * The PC: which chips there are, at which ports and lines, and what is plugged into PCI. Order here
 * is the order of a checkpoint's sections.
 */
import type { VmAccel } from '../accel/contract.js';
import type { CharBackend } from '../chardev/contract.js';
import type { Clock } from '../host/ports.js';
import { AcpiPm } from '../hw/acpi/pm.js';
import { type AcpiConfig, acpiTables, relocatableTables } from '../hw/acpi/tables.js';
import { Serial } from '../hw/char/serial.js';
import type { Device } from '../hw/device.js';
import { DeviceSet } from '../hw/device-set.js';
import type { BootPlace, DeviceBackends, DeviceSlots, IdePlace } from '../hw/device-type.js';
import { VmError } from '../base/errors.js';
import { deviceTypeNamed } from '../hw/device-types.js';
import type { IdeDrive, IdePort } from '../hw/ide/drive.js';
import { IDE_PLACES, idePositionOf } from '../hw/ide/places.js';
import { FwCfg } from '../hw/firmware/fw-cfg.js';
import { InputRouter } from '../hw/input/router.js';
import { I8042 } from '../hw/isa/i8042.js';
import { SystemControl } from '../hw/isa/system-control.js';
import { PCI_HOLE, PCI_SLOTS, PciBus } from '../hw/pci/bus.js';
import {
  entryFor,
  SMBIOS_ENTRY,
  type SmbiosFacts,
  smbiosTables,
  type SmbiosWords,
} from '../hw/firmware/smbios.js';
import type { DisplaySource } from '../hw/display/surface.js';
import type { PciFunction } from '../hw/pci/function.js';
import { HostBridge } from '../hw/pci/host.js';
import { intxGsi, intxIrq, PCI_IRQS } from '../hw/pci/pirq.js';
import type { PowerControl } from '../hw/power.js';
import { Mc146818Rtc } from '../hw/rtc/mc146818rtc.js';
import type { VirtioModel } from '../hw/virtio/model.js';
import { VirtioPci } from '../hw/virtio/virtio-pci.js';
import { type GuestClock, guestClock, IrqRouter } from '../hw/wiring.js';
import { SystemBus } from '../memory/bus.js';
import { cmosBytes, configureFirmware } from './firmware-config.js';
import type { FirmwareKernel } from './loader/linux-firmware.js';
import { Low, ramLayout, ramRanges } from './loader/memory-map.js';
import { idTaken, Piix3Slot } from './piix3-slot.js';
import { type BootSpec, type DeviceSpec, MACHINE_TYPE } from './spec.js';

export const COM_PORTS = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
] as const;
const KEYBOARD_IRQ = 1;
const MOUSE_IRQ = 12;
const RTC_IRQ = 8;
const SCI_IRQ = 9;

/** The address of the first card without one of its own, as in QEMU. */
const FIRST_MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56] as const;

/** As QEMU has it, as far as there are such devices. */
const DEFAULT_BOOT: BootSpec = { order: 'cdn', menu: false, strict: false };

/** What is plugged in, and what firmware is told. */
export interface BoardPlan {
  readonly specs: readonly DeviceSpec[];
  readonly backends: DeviceBackends;
  readonly boot?: BootSpec;
  readonly machineType?: string;
  readonly uuid?: string;
  readonly smbios?: SmbiosWords;
  /** What firmware starts instead of a disk. */
  readonly kernel?: FirmwareKernel;
}

export interface BoardPorts {
  power: PowerControl;
  exit(status: number): void;
  /** A device broke by an exception of its own. */
  broken(id: string, why: string, thrown: unknown): void;
}

export class Board {
  readonly bus = new SystemBus();
  readonly irqs: IrqRouter;
  readonly clock: GuestClock;
  readonly devices: DeviceSet;
  readonly pci: PciBus;
  readonly pm: AcpiPm;
  /** What is typed and pointed at by people. */
  readonly input: InputRouter;
  /** `info qtree`: where a device sits. */
  readonly places = new Map<string, string>();
  /** What its graphics card shows. */
  screen: DisplaySource | undefined;
  private readonly serialCount: number;
  private readonly bridge: HostBridge;
  /** Who is where on the IDE channels, once there is one. */
  private readonly ideUsers = new Map<number, string>();
  readonly piix3: Piix3Slot;
  private readonly bootPlaces = new Map<number, { id: string; path: string }>();

  constructor(
    private readonly accel: VmAccel,
    host: Clock,
    serials: readonly (CharBackend | undefined)[],
    private readonly plan: BoardPlan,
    private readonly ports: BoardPorts,
  ) {
    const { specs, backends, boot = DEFAULT_BOOT, uuid } = plan;
    this.irqs = new IrqRouter(accel);
    this.clock = guestClock(accel, host);
    this.devices = new DeviceSet(accel, host, (...what) => ports.broken(...what));
    this.pci = new PciBus(this.bus.ports, this.bus.mmio, this.irqs);
    this.serialCount = Math.max(serials.length, 1);
    this.input = new InputRouter(accel, host);
    this.bridge = this.addBridge(ports.power);
    this.pm = this.addChips(ports.power, boot);
    const fwCfg = this.add(new FwCfg('fw_cfg', accel.ram), 'isa 0x510, 0x514');
    fwCfg.attach(this.bus.ports);
    for (let i = 0; i < this.serialCount; i++) this.addSerial(i, serials[i]);
    this.piix3 = new Piix3Slot({
      ram: accel.ram,
      clock: this.clock,
      irqs: this.irqs,
      pirqs: this.pci.pirqs,
      ports: this.bus.ports,
      input: this.input,
      taken: id => this.places.has(id),
      add: (device, place) => this.add(device, place),
      addPci: (...fn) => this.addPci(...fn),
    });
    const slots = this.slots(backends);
    for (const { model, id, properties } of specs) {
      const place = this.places.get(id);
      if (place !== undefined) throw idTaken(id, `a chip of the machine (${place})`);
      deviceTypeNamed(model).plug(id, properties, slots);
    }
    configureFirmware(fwCfg, {
      ramBytes: accel.ram.size,
      cpus: accel.cpuCount,
      apicIdLimit: Math.max(...accel.apicIds) + 1,
      uuid,
      boot,
      bootPaths: this.bootPaths(),
      kernel: plan.kernel,
      tables: relocatableTables(this.acpiConfig()),
      smbios: smbiosTables(this.smbiosFacts(), { withBios: false }),
    });
    accel.setExitHandler(this.bus);
  }

  /** What firmware would leave for a kernel to find. */
  lowTables(): { gpa: number; bytes: Buffer }[] {
    const smbios = smbiosTables(this.smbiosFacts(), { withBios: true });
    const at = Low.SMBIOS + SMBIOS_ENTRY;
    return [
      { gpa: Low.ACPI, bytes: acpiTables(Low.ACPI, this.acpiConfig()) },
      { gpa: Low.SMBIOS, bytes: entryFor(smbios, at) },
      { gpa: at, bytes: smbios.structures },
    ];
  }

  private smbiosFacts(): SmbiosFacts {
    const { uuid, smbios: words = {}, machineType = MACHINE_TYPE } = this.plan;
    const { sockets, cores, threads } = this.accel.cpuModel;
    return {
      words,
      uuid,
      machineType,
      sockets,
      cores,
      threads,
      ranges: ramRanges(this.accel.ram.size),
    };
  }

  private acpiConfig(): AcpiConfig {
    return {
      apicIds: this.accel.apicIds,
      serials: COM_PORTS.slice(0, this.serialCount),
      intx: { ioapic: intxGsi, pic: intxIrq },
      pciSlots: PCI_SLOTS,
      pciHole: PCI_HOLE,
      screen: this.screen !== undefined,
    };
  }

  /**
   * Power-on; without firmware also what that would do before it hands over. RAM is the loader's.
   */
  reset({ firmware } = { firmware: false }): void {
    // Where firmware finds a PIIX3, it does that itself.
    if (!firmware || !this.piix3.used) this.accel.setLevelIrqs(PCI_IRQS);
    this.devices.reset();
    this.irqs.replay();
    if (firmware) return;
    this.pci.firmwareSetup();
    this.bridge.contain(() => this.bridge.shadowAll(), undefined);
  }

  private addBridge(power: PowerControl): HostBridge {
    const bridge = this.add(
      new HostBridge('pci-host', this.pci, power, this.accel.ram),
      'pci.0 00:00.0, ports 0xcf8-0xcff',
    );
    this.pci.plug(bridge, 0);
    bridge.attach(this.bus.ports, this.bus.mmio);
    return bridge;
  }

  private bootPaths(): string[] {
    const places = [...this.bootPlaces].sort(([a], [b]) => a - b);
    return places.map(([, { path }]) => path);
  }

  private noteBoot(id: string, { index, path }: BootPlace, slot: number): void {
    if (index === undefined) return;
    const other = this.bootPlaces.get(index);
    if (other) throw new VmError(`${id}: bootindex=${index} is taken by ${other.id}`);
    this.bootPlaces.set(index, { id, path: `/pci@i0cf8/${path(slot.toString(16))}` });
  }

  private addChips(power: PowerControl, boot: BootSpec): AcpiPm {
    const { ports } = this.bus;
    const ram = ramLayout(this.accel.ram.size);
    const told = cmosBytes(boot, this.accel.cpuCount);
    const rtc = new Mc146818Rtc('rtc', this.irqs.line(RTC_IRQ), this.clock, ram, told);
    this.add(rtc, `isa 0x70 irq ${RTC_IRQ}`).attach(ports);
    const keyboard = this.irqs.line(KEYBOARD_IRQ);
    const i8042 = new I8042('i8042', power, { keyboard, mouse: this.irqs.line(MOUSE_IRQ) });
    this.add(i8042, `isa 0x60, 0x64 irq ${KEYBOARD_IRQ}, ${MOUSE_IRQ}`).attach(ports);
    i8042.connect(this.input);
    this.add(new SystemControl('port92', power), 'isa 0x80, 0x92').attach(ports);
    const pm = new AcpiPm('acpi-pm', this.irqs.line(SCI_IRQ), this.clock, power);
    this.add(pm, `isa 0x600 irq ${SCI_IRQ}`).attach(ports);
    return pm;
  }

  private addSerial(index: number, chr: CharBackend | undefined): void {
    const { base, irq } = COM_PORTS[index];
    const id = `serial${index}`;
    const serial = new Serial(id, this.irqs.line(irq), chr, this.clock);
    this.add(serial, `isa 0x${base.toString(16)} irq ${irq}`).attach(this.bus.ports, base);
  }

  private slots(backends: DeviceBackends): DeviceSlots {
    let nics = 0;
    return {
      ...backends,
      ports: this.bus.ports,
      mmio: this.bus.mmio,
      clock: this.clock,
      irq: gsi => this.irqs.line(gsi),
      ram: this.accel.ram,
      video: this.accel.ram.video,
      addPci: (fn, boot) => {
        this.addPci(fn);
        if (boot) this.noteBoot(fn.id, boot, fn.slotNumber);
      },
      display: source => void (this.screen = source),
      add: (device, place) => this.add(device, place),
      addVirtio: (id, model, boot) => this.addVirtio(id, model, boot),
      addIde: (id, place, make, boot) => this.addIde(id, place, make, boot),
      addUsbController: id => this.piix3.addUsbController(id),
      addUsb: (device, place) => this.piix3.addUsb(device, place),
      nextMac: () => defaultMac(nics++),
      exit: status => this.ports.exit(status),
    };
  }

  private addVirtio<S>(id: string, model: VirtioModel<S>, boot: BootPlace): void {
    const fn = new VirtioPci(id, this.accel, model, this.clock);
    this.addPci(fn);
    this.noteBoot(id, boot, fn.slotNumber);
  }

  private addIde(
    id: string,
    wanted: IdePlace,
    make: (port: IdePort) => IdeDrive,
    boot: Pick<BootPlace, 'index'>,
  ): void {
    const place = this.idePlace(id, wanted);
    const { bus, unit } = idePositionOf(place);
    const ide = this.piix3.ideController();
    const { port, plug } = ide.place(bus, unit);
    const drive = this.add(make(port), `ide.${bus} unit ${unit}`);
    plug(drive);
    this.ideUsers.set(place, id);
    const path = (slot: string) => `ide@${slot},1/drive@${bus}/disk@${unit}`;
    this.noteBoot(id, { ...boot, path }, ide.slotNumber);
  }

  private idePlace(id: string, { bus, unit }: IdePlace): number {
    const fitting = IDE_PLACES.filter(place => {
      const position = idePositionOf(place);
      return (bus ?? position.bus) === position.bus && (unit ?? position.unit) === position.unit;
    });
    const free = fitting.find(place => !this.ideUsers.has(place));
    if (free !== undefined) return free;
    const users = fitting.map(place => this.ideUsers.get(place)).join(', ');
    throw new VmError(`${id}: its place on IDE is taken by ${users}`);
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  private addPci(fn: PciFunction<any>, slot?: number, functionNumber = 0): void {
    this.pci.plug(this.devices.add(fn), slot, functionNumber);
    const at = fn.slotNumber.toString(16).padStart(2, '0');
    this.places.set(fn.id, `pci.0 00:${at}.${functionNumber}`);
  }

  private add<D extends Device>(device: D, place: string): D {
    this.places.set(device.id, place);
    return this.devices.add(device);
  }
}

function defaultMac(index: number): Uint8Array {
  const mac = Uint8Array.from(FIRST_MAC);
  mac[5] = (mac[5] + index) & 0xff;
  return mac;
}
