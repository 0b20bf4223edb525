/**
 * What a USB controller and a device on one of its ports are for each other (USB 2.0, chapter 8):
 * packets, without their wires. No packet is ever lost here, so a device need not look at toggles.
 */

export const Pid = { SETUP: 0x2d, IN: 0x69, OUT: 0xe1 } as const;

/** timeout: no answer at all. */
export type UsbRefusal = 'nak' | 'stall' | 'timeout';
/** Bytes: what the device sends; none where it has taken what it was sent. */
export type UsbAnswer = Uint8Array | UsbRefusal;

/** A device has taken what it was sent, or sends a packet without data. */
export const USB_TAKEN: UsbAnswer = new Uint8Array(0);

/** The controller's side of a port, for the device there. */
export interface UsbPort {
  /** The guest's transactions reach the device at present. */
  readonly active: boolean;
  /** The device has news: it is asked soon, and a guest that let it sleep is woken. */
  attention(): void;
}
