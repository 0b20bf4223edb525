/** A port of a UHCI's root hub (UHCI Design Guide 1.1, section 2.1.7). */
import type { UsbDevice } from './usb-device.js';

export const PortBit = {
  CONNECTED: 0x0001,
  CONNECT_CHANGE: 0x0002,
  ENABLED: 0x0004,
  ENABLE_CHANGE: 0x0008,
  LINE_PLUS: 0x0010,
  RESUME: 0x0040,
  /** Always set: by it a driver counts the ports. */
  PRESENT: 0x0080,
  RESET: 0x0200,
  SUSPENDED: 0x1000,
} as const;
const CHANGES = PortBit.CONNECT_CHANGE | PortBit.ENABLE_CHANGE;
const HELD = PortBit.RESUME | PortBit.RESET | PortBit.SUSPENDED;
/** What of a port is state; the rest derives from the device on it. */
export const PORT_STATE = CHANGES | HELD | PortBit.ENABLED;

/** A port as the guest finds it: something was put there, or nothing is there. */
export const newPort = (device: UsbDevice | undefined): number =>
  device ? PortBit.CONNECT_CHANGE : 0;

/** Packets pass. */
export const isOpen = (port: number): boolean =>
  (port & (PortBit.ENABLED | PortBit.SUSPENDED | PortBit.RESET)) === PortBit.ENABLED;

export function readUsbPort(port: number, device: UsbDevice | undefined): number {
  const there = device ? PortBit.CONNECTED | PortBit.LINE_PLUS : 0;
  return port | there | PortBit.PRESENT;
}

/** What is kept of a write to it; the device hears of a reset. */
export function writeUsbPort(port: number, value: number, device: UsbDevice | undefined): number {
  const resets = (value & PortBit.RESET) !== 0;
  if (resets && (port & PortBit.RESET) === 0) device?.busReset();
  let next = (port & CHANGES & ~value) | (resets ? PortBit.RESET : value & HELD);
  if (!resets && device) next |= value & PortBit.ENABLED;
  // The end of a resume ends the sleep.
  if ((port & ~value & PortBit.RESUME) !== 0) next &= ~PortBit.SUSPENDED;
  return next;
}
