/** Every -device that a machine can have. */
import { VmError } from '../base/errors.js';
import { didYouMean } from '../base/similar.js';
import { virtioBlkPci } from './block/virtio-blk-pci.js';
import type { DeviceType } from './device-type.js';
import { vgaDevice } from './display/vga-device.js';
import { ideCd, ideHd } from './ide/ide-devices.js';
import { isaDebugExit } from './isa/debug-exit.js';
import { isaDebugcon } from './isa/debugcon.js';
import { pcTestdevDevice } from './isa/pc-testdev.js';
import { e1000Device } from './net/e1000/e1000-device.js';
import { virtioNetPci } from './net/virtio-net-pci.js';
import { piix3UsbUhci, usbKbd, usbMouse, usbTablet } from './usb/usb-devices.js';

export const deviceTypes: readonly DeviceType[] = [
  virtioBlkPci,
  virtioNetPci,
  vgaDevice,
  isaDebugExit,
  isaDebugcon,
  pcTestdevDevice,
  ideHd,
  ideCd,
  piix3UsbUhci,
  usbTablet,
  usbKbd,
  usbMouse,
  e1000Device,
];

/** Named as QEMU names it, with what there is. */
export function deviceTypeNamed(name: string): DeviceType {
  const found = deviceTypes.find(type => type.name === name);
  if (found) return found;
  const names = deviceTypes.map(type => type.name);
  throw new VmError(
    `'${name}' is not a device of colo; it has ${names.join(', ')}.${didYouMean(name, names)}`,
  );
}
