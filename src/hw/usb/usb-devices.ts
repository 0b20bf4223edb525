/** `-device piix3-usb-uhci`, and the devices on its ports. */
import { int, optional, str } from '../../words/types.js';
import { deviceType } from '../device-type.js';
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

export const usbTablet = deviceType({
  name: 'usb-tablet',
  summary: 'a pointer that is where the viewer has it',
  properties: placeFields,
  example: '',
  plug: (id, place, slots) => slots.addUsb(new UsbPointer(id, 'tablet', slots.clock), place),
});

export const usbMouse = deviceType({
  name: 'usb-mouse',
  summary: 'a mouse',
  properties: placeFields,
  example: '',
  plug: (id, place, slots) => slots.addUsb(new UsbPointer(id, 'mouse', slots.clock), place),
});

export const usbKbd = deviceType({
  name: 'usb-kbd',
  summary: 'a keyboard',
  properties: placeFields,
  example: '',
  plug: (id, place, slots) => slots.addUsb(new UsbKeyboard(id, slots.clock), place),
});

/** Those that need a port. */
export const usbModels: readonly string[] = [usbTablet, usbMouse, usbKbd].map(({ name }) => name);
