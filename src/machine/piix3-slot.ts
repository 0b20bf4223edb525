/**
 * The slot of the PIIX3: an ISA bridge, with an IDE and a USB function. It is there with the first
 * thing that needs it, so that machines without such things stay as they are.
 */
import type { VmAccel } from '../accel/contract.js';
import { VmError } from '../base/errors.js';
import type { Device } from '../hw/device.js';
import type { UsbPlace } from '../hw/device-type.js';
import { IDE_CHANNELS } from '../hw/ide/places.js';
import { PiixIde } from '../hw/ide/piix.js';
import type { InputRouter } from '../hw/input/router.js';
import { Piix3 } from '../hw/isa/piix3.js';
import type { PciFunction } from '../hw/pci/function.js';
import type { PirqRouter } from '../hw/pci/pirq.js';
import type { UsbHid } from '../hw/usb/hid.js';
import { Uhci, UHCI_PORTS } from '../hw/usb/uhci.js';
import type { GuestClock, IrqRouter } from '../hw/wiring.js';
import type { IoPorts } from '../memory/io-ports.js';
import type { UsbInfo } from './contract.js';

const IDE_FUNCTION = 1;
const USB_FUNCTION = 2;
const USB_BUS = 'usb-bus.0';

/** What the slot has of the board. */
export interface Piix3Host {
  readonly ram: VmAccel['ram'];
  readonly clock: GuestClock;
  readonly irqs: IrqRouter;
  readonly pirqs: PirqRouter;
  readonly ports: IoPorts;
  readonly input: InputRouter;
  /** Whether a device has this id already. */
  taken(id: string): boolean;
  add(device: Device, place: string): void;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  addPci(fn: PciFunction<any>, slot?: number, functionNumber?: number): void;
}

export const idTaken = (id: string, owner: string): VmError =>
  new VmError(`-device id=${id}: ${owner} has that id; give it another one`);

export class Piix3Slot {
  private bridge: Piix3 | undefined;
  private ide: PiixIde | undefined;
  private uhci: Uhci | undefined;

  constructor(private readonly host: Piix3Host) {}

  /** Whether there is one. */
  get used(): boolean {
    return this.bridge !== undefined;
  }

  ideController(): PiixIde {
    if (this.ide) return this.ide;
    const { host } = this;
    const id = 'piix3-ide';
    if (host.taken(id)) throw idTaken(id, 'the IDE controller of the machine');
    const slot = this.slotNumber('the IDE controller of the machine');
    const lines = IDE_CHANNELS.map(({ irq }) => host.irqs.line(irq));
    this.ide = new PiixIde(id, host.ram, lines);
    host.addPci(this.ide, slot, IDE_FUNCTION);
    this.ide.attach(host.ports);
    return this.ide;
  }

  addUsbController(id: string): void {
    const { host } = this;
    if (this.uhci) throw new VmError(`${id}: the machine has a USB controller, ${this.uhci.id}`);
    const slot = this.slotNumber('the USB controller of the machine');
    if (host.taken(id)) throw idTaken(id, 'the bridge of the USB controller');
    this.uhci = new Uhci(id, host.ram, host.clock);
    host.addPci(this.uhci, slot, USB_FUNCTION);
  }

  addUsb(device: UsbHid, { bus = USB_BUS, port }: UsbPlace): void {
    const { host, uhci } = this;
    const { id } = device;
    if (!uhci)
      throw new VmError(`${id}: there is no USB controller before it`, {
        hint: 'Say -usb, or -device piix3-usb-uhci before it.',
      });
    if (bus !== USB_BUS && bus !== `${uhci.id}.0`)
      throw new VmError(`${id}: there is no USB bus '${bus}'; the machine has ${uhci.id}.0`);
    const ports = Array.from({ length: UHCI_PORTS }, (_, n) => n);
    const place = port === undefined ? ports.find(n => !uhci.deviceOn(n)) : port - 1;
    const other = place === undefined ? undefined : uhci.deviceOn(place);
    if (place === undefined || other)
      throw new VmError(
        `${id}: ${other ? `port ${port} is taken by ${other.id}` : 'both USB ports are taken'}`,
      );
    uhci.connect(device, place);
    host.add(device, `${uhci.id}.0 port ${place + 1}`);
    device.listen(host.input);
  }

  usbInfo(): UsbInfo[] {
    const { uhci } = this;
    return Array.from({ length: UHCI_PORTS }, (_, n) => n).flatMap(n => {
      const device = uhci?.deviceOn(n);
      if (!device) return [];
      return { id: device.id, port: n + 1, address: device.address, product: device.product };
    });
  }

  /** Of the bridge, which comes with the first function. owner: for whom. */
  private slotNumber(owner: string): number {
    if (!this.bridge) {
      const id = 'piix3';
      if (this.host.taken(id)) throw idTaken(id, owner);
      this.bridge = new Piix3(id, this.host.pirqs);
      this.host.addPci(this.bridge);
    }
    return this.bridge.slotNumber;
  }
}
