/** `-usb` and `-usbdevice`: short for a controller, and a device on it. */
import { VmError } from '../../base/errors.js';
import { didYouMean } from '../../base/similar.js';
import { UHCI_MODEL } from '../../hw/usb/usb-devices.js';
import type { Draft } from './draft.js';
import type { VmOption } from './option.js';

const shortNames: Readonly<Record<string, string>> = {
  tablet: 'usb-tablet',
  mouse: 'usb-mouse',
  keyboard: 'usb-kbd',
};
const names = Object.keys(shortNames);

export const usbOption: VmOption = {
  name: 'usb',
  summary: `a USB controller; the same as -device ${UHCI_MODEL}`,
  take: draft => void (draft.usb = true),
};

export const usbdeviceOption: VmOption = {
  name: 'usbdevice',
  value: 'NAME',
  repeatable: true,
  summary:
    `a USB device, and -usb: ${names.join(', ')}; ` + 'the same as -device usb-tablet and its like',
  offers: names,
  take(draft, value) {
    const model = shortNames[value];
    if (model === undefined)
      throw new VmError(
        `'${value}' is not a USB device; there is ${names.join(', ')}.${didYouMean(value, names)}`,
      );
    draft.usb = true;
    draft.spec.devices.push({
      model,
      id: draft.ids.claim('device', draft.ids.fresh(value)),
      properties: {},
    });
  },
};

/** Before what is plugged into it. */
export function addUsbController({ spec, usb, ids }: Draft): void {
  if (!usb || spec.devices.some(({ model }) => model === UHCI_MODEL)) return;
  spec.devices.unshift({
    model: UHCI_MODEL,
    id: ids.claim('device', ids.fresh('usb')),
    properties: {},
  });
}
