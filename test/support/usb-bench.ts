/** A UHCI with devices on a bench, a driver for it, and hands on the devices. */
import { InputRouter } from '../../src/hw/input/router.js';
import { PciBus } from '../../src/hw/pci/bus.js';
import { PciCommand } from '../../src/hw/pci/config-space.js';
import type { UsbHid } from '../../src/hw/usb/hid.js';
import { Uhci } from '../../src/hw/usb/uhci.js';
import type { GuestClock } from '../../src/hw/wiring.js';
import { Bench } from './device-bench.js';
import { UhciDriver } from './usb-driver.js';

/** Where pin D of slot 1 leads. */
export const USB_GSI = 16 + ((1 + 3) % 8);

export class UsbBench {
  readonly bench = new Bench();
  readonly pci: PciBus;
  readonly uhci: Uhci;
  readonly devices: readonly UsbHid[];
  readonly input: InputRouter;
  readonly driver: UhciDriver;

  constructor(...make: ((clock: GuestClock) => UsbHid)[]) {
    const { bus, irqs, vm, clock, host } = this.bench;
    vm.running = true;
    this.pci = new PciBus(bus.ports, bus.mmio, irqs);
    this.uhci = new Uhci('uhci', vm.ram, clock);
    this.pci.plug(this.uhci);
    this.input = new InputRouter(vm, host);
    this.devices = make.map((one, port) => {
      const device = one(clock);
      this.uhci.connect(device, port);
      device.listen(this.input);
      return device;
    });
    this.uhci.reset();
    for (const device of this.devices) device.reset();
    this.pci.firmwareSetup();
    this.uhci.configWrite(4, 2, PciCommand.IO + PciCommand.MASTER);
    for (const device of [this.uhci, ...this.devices]) device.resume();
    this.driver = new UhciDriver(vm, this.uhci.barAddress(4)!, ms => host.advance(ms));
  }

  get level(): boolean {
    return this.bench.level(USB_GSI);
  }
  advance(ms: number): void {
    this.bench.host.advance(ms);
  }

  /** Goes on with another bench's devices and memory. */
  async take(from: UsbBench): Promise<void> {
    const all = (b: UsbBench) => [b.uhci, ...b.devices];
    const { ram } = from.bench.vm;
    for (const device of [...all(from), ...all(this)]) await device.pause();
    this.bench.vm.ram.write(0, ram.read(0, 0x10000)!);
    this.bench.vm.clockNs = from.bench.vm.clockNs;
    all(this).forEach((device, n) => {
      const { vmstate, state } = all(from)[n];
      device.state = vmstate.parse(vmstate.save(state as never), vmstate.version) as never;
      device.afterLoad();
      device.resume();
    });
  }
}
