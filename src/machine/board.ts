/**
 * The PC: which chips there are, at which ports and lines, and what is plugged into PCI. Order here
 * is the order of a checkpoint's sections.
 */
import { VmError } from '../base/errors.js';
import type { VmAccel } from '../accel/contract.js';
import type { BlockBackend } from '../block/contract.js';
import type { CharBackend } from '../chardev/contract.js';
import type { Clock } from '../host/ports.js';
import { AcpiPm } from '../hw/acpi/pm.js';
import { acpiTables } from '../hw/acpi/tables.js';
import { VirtioBlk } from '../hw/block/virtio-blk.js';
import { Serial } from '../hw/char/serial.js';
import { DeviceSet } from '../hw/device-set.js';
import { DebugExit } from '../hw/isa/debug-exit.js';
import { I8042 } from '../hw/isa/i8042.js';
import { SystemControl } from '../hw/isa/system-control.js';
import { VirtioNet } from '../hw/net/virtio-net.js';
import { intxGsi, PCI_HOLE, PCI_SLOTS, PciBus } from '../hw/pci/bus.js';
import { HostBridge } from '../hw/pci/host.js';
import type { PowerControl } from '../hw/power.js';
import { Mc146818Rtc } from '../hw/rtc/mc146818rtc.js';
import type { VirtioModel } from '../hw/virtio/model.js';
import { VirtioPci } from '../hw/virtio/virtio-pci.js';
import { type GuestClock, guestClock, IrqRouter } from '../hw/wiring.js';
import { SystemBus } from '../memory/bus.js';
import type { Netdev } from '../net/contract.js';
import { Low, ramLayout } from './loader/memory-map.js';

export const COM_PORTS = [
  { base: 0x3f8, irq: 4 },
  { base: 0x2f8, irq: 3 },
  { base: 0x3e8, irq: 4 },
  { base: 0x2e8, irq: 3 },
] as const;
const RTC_IRQ = 8;
const SCI_IRQ = 9;

/** A device of the spec with what was opened for it. */
export type BoardDevice =
  | { model: 'virtio-blk-pci'; id: string; backend: BlockBackend; serial: string }
  | { model: 'virtio-net-pci'; id: string; netdev: Netdev; mac: Uint8Array }
  | { model: 'isa-debug-exit'; id: string; iobase: number };

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
    extra: readonly BoardDevice[],
    private readonly hooks: BoardHooks,
  ) {
    this.irqs = new IrqRouter(accel);
    this.clock = guestClock(accel, host);
    this.devices = new DeviceSet(accel, host, (...what) => hooks.broken(...what));
    this.pci = new PciBus(this.bus.mmio, this.irqs);
    this.serialCount = Math.max(serials.length, 1);
    this.pm = this.addChips(hooks.power);
    for (let i = 0; i < this.serialCount; i++) this.addSerial(i, serials[i]);
    for (const device of extra) this.addDevice(device);
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
    const { bus, clock, devices } = this;
    const bridge = devices.add(new HostBridge('pci-host', this.pci, power));
    this.pci.plug(bridge, 0);
    bridge.attach(bus.ports);
    this.places.set('pci-host', 'pci.0 00:00.0, ports 0xcf8-0xcff');
    const rtc = devices.add(
      new Mc146818Rtc('rtc', this.irqs.line(RTC_IRQ), clock, ramLayout(this.accel.ram.size)),
    );
    rtc.attach(bus.ports);
    this.places.set('rtc', `isa 0x70 irq ${RTC_IRQ}`);
    devices.add(new I8042('i8042', power)).attach(bus.ports);
    this.places.set('i8042', 'isa 0x60, 0x64');
    devices.add(new SystemControl('port92', power)).attach(bus.ports);
    this.places.set('port92', 'isa 0x80, 0x92');
    const pm = devices.add(new AcpiPm('acpi-pm', this.irqs.line(SCI_IRQ), clock, power));
    pm.attach(bus.ports);
    this.places.set('acpi-pm', `isa 0x600 irq ${SCI_IRQ}`);
    return pm;
  }

  private addSerial(index: number, chr: CharBackend | undefined): void {
    const { base, irq } = COM_PORTS[index];
    const id = `serial${index}`;
    this.devices
      .add(new Serial(id, this.irqs.line(irq), chr, this.clock))
      .attach(this.bus.ports, base);
    this.places.set(id, `isa 0x${base.toString(16)} irq ${irq}`);
  }

  private addDevice(device: BoardDevice): void {
    switch (device.model) {
      case 'virtio-blk-pci':
        return this.addVirtio(device.id, new VirtioBlk(device.backend, device.serial));
      case 'virtio-net-pci':
        return this.addVirtio(device.id, new VirtioNet(device.netdev, device.mac));
      case 'isa-debug-exit':
        this.addDebugExit(device.id, device.iobase);
    }
  }

  private addDebugExit(id: string, iobase: number): void {
    const device = this.devices.add(new DebugExit(id, status => this.hooks.exit(status)));
    if (!device.attach(this.bus.ports, iobase))
      throw new VmError(
        `-device isa-debug-exit,iobase=0x${iobase.toString(16)}: the ports are taken`,
      );
    this.places.set(id, `isa 0x${iobase.toString(16)}`);
  }

  private addVirtio<S>(id: string, model: VirtioModel<S>): void {
    const fn = this.devices.add(new VirtioPci(id, this.accel, model, this.clock));
    this.pci.plug(fn);
    this.places.set(id, `pci.0 00:${fn.slotNumber.toString(16).padStart(2, '0')}.0`);
  }
}
