/** `-device piix3-usb-uhci`, and the devices on its ports. */
import { int, optional, str } from '../../words/types.js';
import { deviceType } from '../device-type.js';
import type { GuestClock } from '../wiring.js';
import type { UsbHid } from './hid.js';
import { UHCI_PORTS } from './uhci.js';
import { UsbKeyboard } from './usb-keyboard.js';
import { UsbPointer } from './usb-pointer.js';

export const UHCI_MODEL = 'piix3-usb-uhci';

const placeFields = {
  bus: optional(str('usb-bus.0, or the id of the controller and .0: there is one')),
  port: optional(int('default: the first that is free', { min: 1, max: UHCI_PORTS })),
};

export const piix3UsbUhci = deviceType({
  name: UHCI_MODEL,
  summary: 'a USB controller with two ports, part of a PIIX3',
  properties: {},
  example: '',
  plug: (id, _properties, slots) => slots.addUsbController(id),
});

const onPort = (
  name: string,
  summary: string,
  make: (id: string, clock: Pick<GuestClock, 'ns'>) => UsbHid,
) =>
  deviceType({
    name,
    summary,
    properties: placeFields,
    example: '',
    plug: (id, place, slots) => slots.addUsb(make(id, slots.clock), place),
  });

export const usbTablet = onPort(
  'usb-tablet',
  'a pointer that is where the viewer has it',
  (id, clock) => new UsbPointer(id, 'tablet', clock),
);
export const usbMouse = onPort(
  'usb-mouse',
  'a mouse',
  (id, clock) => new UsbPointer(id, 'mouse', clock),
);
export const usbKbd = onPort('usb-kbd', 'a keyboard', (id, clock) => new UsbKeyboard(id, clock));

/** Those that need a port. */
export const usbModels: readonly string[] = [usbTablet, usbMouse, usbKbd].map(({ name }) => name);
