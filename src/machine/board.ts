/**
 * The PC: which chips there are, at which ports and lines, and what is plugged into PCI. Order here
 * is the order of a checkpoint's sections.
 */
import type { VmAccel } from '../accel/contract.js';
import type { CharBackend } from '../chardev/contract.js';
import type { Clock } from '../host/ports.js';
import { AcpiPm } from '../hw/acpi/pm.js';
import { acpiTables } from '../hw/acpi/tables.js';
import { Serial } from '../hw/char/serial.js';
import type { Device } from '../hw/device.js';
import { DeviceSet } from '../hw/device-set.js';
import type { DeviceBackends, DeviceSlots } from '../hw/device-type.js';
import { deviceTypeNamed } from '../hw/device-types.js';
import { I8042 } from '../hw/isa/i8042.js';
import { SystemControl } from '../hw/isa/system-control.js';
import { intxGsi, PCI_HOLE, PCI_SLOTS, PciBus } from '../hw/pci/bus.js';
import { HostBridge } from '../hw/pci/host.js';
import type { PowerControl } from '../hw/power.js';
import { Mc146818Rtc } from '../hw/rtc/mc146818rtc.js';
import type { VirtioModel } from '../hw/virtio/model.js';
import { VirtioPci } from '../hw/virtio/virtio-pci.js';
import { type GuestClock, guestClock, IrqRouter } from '../hw/wiring.js';
import { SystemBus } from '../memory/bus.js';
import { Low, ramLayout } from './loader/memory-map.js';
import type { DeviceSpec } from './spec.js';

export const COM_PORTS = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
] as const;
const RTC_IRQ = 8;
const SCI_IRQ = 9;

/** The address of the first card without one of its own, as in QEMU. */
const FIRST_MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56] as const;

export interface BoardHooks {
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
  /** `info qtree`: where a device sits. */
  readonly places = new Map<string, string>();
  private readonly serialCount: number;

  constructor(
    private readonly accel: VmAccel,
    host: Clock,
    serials: readonly (CharBackend | undefined)[],
    { specs, backends }: { specs: readonly DeviceSpec[]; backends: DeviceBackends },
    private readonly hooks: BoardHooks,
  ) {
    this.irqs = new IrqRouter(accel);
    this.clock = guestClock(accel, host);
    this.devices = new DeviceSet(accel, host, (...what) => hooks.broken(...what));
    this.pci = new PciBus(this.bus.mmio, this.irqs);
    this.serialCount = Math.max(serials.length, 1);
    this.pm = this.addChips(hooks.power);
    for (let i = 0; i < this.serialCount; i++) this.addSerial(i, serials[i]);
    const slots = this.slots(backends);
    for (const { model, id, properties } of specs)
      deviceTypeNamed(model).plug(id, properties, slots);
    accel.setExitHandler(this.bus);
  }

  /** ACPI tables for Low.ACPI. */
  acpi(): Buffer {
    return acpiTables(Low.ACPI, {
      apicIds: this.accel.apicIds,
      serials: COM_PORTS.slice(0, this.serialCount),
      intx: intxGsi,
      pciSlots: PCI_SLOTS,
      pciHole: PCI_HOLE,
    });
  }

  /** Power-on, and what firmware would do before it hands over. RAM is the loader's. */
  reset(): void {
    this.devices.reset();
    this.irqs.replay();
    this.pci.firmwareSetup();
  }

  private addChips(power: PowerControl): AcpiPm {
    const { ports } = this.bus;
    const bridge = this.add(
      new HostBridge('pci-host', this.pci, power),
      'pci.0 00:00.0, ports 0xcf8-0xcff',
    );
    this.pci.plug(bridge, 0);
    bridge.attach(ports);
    const ram = ramLayout(this.accel.ram.size);
    const rtc = new Mc146818Rtc('rtc', this.irqs.line(RTC_IRQ), this.clock, ram);
    this.add(rtc, `isa 0x70 irq ${RTC_IRQ}`).attach(ports);
    this.add(new I8042('i8042', power), 'isa 0x60, 0x64').attach(ports);
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
      add: (device, place) => this.add(device, place),
      addVirtio: (id, model) => this.addVirtio(id, model),
      nextMac: () => defaultMac(nics++),
      exit: status => this.hooks.exit(status),
    };
  }

  private addVirtio<S>(id: string, model: VirtioModel<S>): void {
    const fn = this.devices.add(new VirtioPci(id, this.accel, model, this.clock));
    this.pci.plug(fn);
    this.places.set(id, `pci.0 00:${fn.slotNumber.toString(16).padStart(2, '0')}.0`);
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
