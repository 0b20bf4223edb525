/** What a spec may have on USB: one controller, and behind it as many devices as it has ports. */
import { VmError } from '../base/errors.js';
import { UHCI_PORTS } from '../hw/usb/uhci.js';
import { UHCI_MODEL, usbModels } from '../hw/usb/usb-devices.js';
import type { DeviceSpec } from './spec.js';

/** devices: in the order in which they are put there. */
export function checkUsb(devices: readonly DeviceSpec[]): void {
  let controllers = 0;
  let others = 0;
  for (const { model, id } of devices) {
    if (model === UHCI_MODEL && ++controllers > 1)
      throw new VmError(`-device ${model},id=${id}: a machine has one USB controller`);
    if (!usbModels.includes(model)) continue;
    if (controllers === 0)
      throw new VmError(`-device ${model},id=${id}: there is no USB controller before it`, {
        hint: `Say -usb, or -device ${UHCI_MODEL} before it.`,
      });
    if (++others > UHCI_PORTS)
      throw new VmError(
        `-device ${model},id=${id}: the USB controller has ${UHCI_PORTS} ports, and both are taken`,
      );
  }
}
