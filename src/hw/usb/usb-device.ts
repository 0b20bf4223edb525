/**
 * A device on a USB port (USB 2.0, chapter 9): its address, its one configuration, and the requests
 * that every device knows. Full speed. What it is for is the subclass's.
 */
import { bool8, record, u8 } from '../../fields/field.js';
import { Device } from '../device.js';
import type { UsbAnswer, UsbPort } from './contract.js';
import { controlField, controlPacket, type RequestTaker, type UsbRequest } from './control.js';
import { NEWS_ADDRESS } from './descriptors.js';

const Request = {
  DEVICE_STATUS: 0x8000,
  INTERFACE_STATUS: 0x8100,
  ENDPOINT_STATUS: 0x8200,
  CLEAR_DEVICE_FEATURE: 0x0001,
  SET_DEVICE_FEATURE: 0x0003,
  CLEAR_ENDPOINT_FEATURE: 0x0201,
  SET_ENDPOINT_FEATURE: 0x0203,
  SET_ADDRESS: 0x0005,
  DESCRIPTOR: 0x8006,
  INTERFACE_DESCRIPTOR: 0x8106,
  CONFIGURATION: 0x8008,
  SET_CONFIGURATION: 0x0009,
  INTERFACE: 0x810a,
  SET_INTERFACE: 0x010b,
} as const;
const WAKE_UP = 1;
const HALT = 0;
const MAX_ADDRESS = 127;

export const usbField = record({
  address: u8.mask(MAX_ADDRESS),
  configuration: u8.range(0, 1),
  /** It may wake a host that sleeps. */
  remoteWakeup: bool8,
  /** The endpoint for news is halted. */
  halted: bool8,
  control: controlField,
});

export interface UsbDeviceState {
  usb: ReturnType<typeof usbField.reset>;
}

export abstract class UsbDevice<T extends UsbDeviceState = UsbDeviceState>
  extends Device<T>
  implements RequestTaker
{
  /** Its name for people. */
  abstract readonly product: string;
  protected port: UsbPort | undefined;

  /** Called once by the controller. */
  connect(port: UsbPort): void {
    this.port = port;
  }

  get address(): number {
    return this.state.usb.address;
  }

  get remoteWakeup(): boolean {
    return this.state.usb.remoteWakeup;
  }

  /** The host resets the port: what was set up is gone. */
  readonly busReset = this.guarded(() => {
    this.state.usb = usbField.reset();
    this.configured();
  });

  /** One packet. data: what the host sends. */
  transact(pid: number, endpoint: number, data: Uint8Array): UsbAnswer {
    const { usb } = this.state;
    if (endpoint === 0) return controlPacket(usb.control, this, pid, data);
    if (usb.configuration === 0 || usb.halted) return 'stall';
    return this.endpoint(endpoint, pid);
  }

  answer(request: UsbRequest): Uint8Array | undefined {
    const { usb } = this.state;
    switch (request.code) {
      case Request.DEVICE_STATUS:
        return Uint8Array.of(usb.remoteWakeup ? 2 : 0, 0);
      case Request.INTERFACE_STATUS:
        return Uint8Array.of(0, 0);
      case Request.ENDPOINT_STATUS:
        return Uint8Array.of(request.index === NEWS_ADDRESS && usb.halted ? 1 : 0, 0);
      case Request.DESCRIPTOR:
      case Request.INTERFACE_DESCRIPTOR:
        return this.descriptor(request.value >> 8, request.value & 0xff);
      case Request.CONFIGURATION:
        return Uint8Array.of(usb.configuration);
      case Request.INTERFACE:
        return Uint8Array.of(0);
      default:
        return this.classAnswer(request);
    }
  }

  obey(request: UsbRequest, data: Uint8Array): boolean {
    const { usb } = this.state;
    const { code, value } = request;
    switch (code) {
      case Request.SET_ADDRESS:
        if (value > MAX_ADDRESS) return false;
        usb.address = value;
        return true;
      case Request.SET_CONFIGURATION:
        if (value > 1) return false;
        usb.configuration = value;
        usb.halted = false;
        this.configured();
        return true;
      case Request.SET_INTERFACE:
        return value === 0;
      case Request.SET_DEVICE_FEATURE:
      case Request.CLEAR_DEVICE_FEATURE:
        if (value !== WAKE_UP) return false;
        usb.remoteWakeup = code === Request.SET_DEVICE_FEATURE;
        return true;
      case Request.SET_ENDPOINT_FEATURE:
      case Request.CLEAR_ENDPOINT_FEATURE:
        if (value !== HALT) return false;
        if (request.index === NEWS_ADDRESS) usb.halted = code === Request.SET_ENDPOINT_FEATURE;
        return true;
      default:
        return this.classOrder(request, data);
    }
  }

  /** It was given a configuration, or lost it. */
  protected abstract configured(): void;
  protected abstract descriptor(type: number, index: number): Uint8Array | undefined;
  /** A packet on another endpoint than 0, while it is configured. */
  protected abstract endpoint(number: number, pid: number): UsbAnswer;
  protected abstract classAnswer(request: UsbRequest): Uint8Array | undefined;
  protected abstract classOrder(request: UsbRequest, data: Uint8Array): boolean;
}
