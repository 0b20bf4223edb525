/**
 * A device that people use (HID 1.11): reports of what they do, one whenever the host asks and
 * there is news, or none was sent for as long as the host has said. What they do while the guest
 * does not ask waits in the state of the subclass.
 */
import { bool8, record, u64, u8 } from '../../fields/field.js';
import type { InputRouter } from '../input/router.js';
import type { GuestClock } from '../wiring.js';
import { Pid, type UsbAnswer } from './contract.js';
import type { UsbRequest } from './control.js';
import { descriptorOf, type HidIdentity, NEWS_ENDPOINT } from './descriptors.js';
import { UsbDevice, type UsbDeviceState } from './usb-device.js';

const HidRequest = {
  REPORT: 0xa101,
  IDLE: 0xa102,
  PROTOCOL: 0xa103,
  SET_REPORT: 0x2109,
  SET_IDLE: 0x210a,
  SET_PROTOCOL: 0x210b,
} as const;
const IDLE_UNIT_NS = 4_000_000n;
const INPUT_REPORT = 1;

export const hidField = record({
  /** The reports are those that firmware knows; else the declared ones. */
  boot: bool8,
  /** After this time, in units of 4 ms, a report comes without news; 0: never. */
  idle: u8,
  /** When the last report was sent. */
  reportNs: u64,
  /** The guest has asked for news since it set the device up. */
  asked: bool8,
});

export interface HidDeviceState extends UsbDeviceState {
  hid: ReturnType<typeof hidField.reset>;
}

export abstract class UsbHid<T extends HidDeviceState = HidDeviceState> extends UsbDevice<T> {
  protected paused = true;
  private input: InputRouter | undefined;

  constructor(
    id: string,
    readonly identity: HidIdentity,
    private readonly clock: Pick<GuestClock, 'ns'>,
  ) {
    super(id);
  }

  get product(): string {
    return this.identity.product;
  }

  override async pause(): Promise<void> {
    this.paused = true;
  }

  override resume(): void {
    this.paused = false;
    this.input?.resumed();
  }

  /** What people do comes here while the guest asks for it. */
  listen(input: InputRouter): void {
    this.input = input;
    this.addTo(input);
  }

  /** The guest takes what this device says. */
  get ready(): boolean {
    return !this.silent && this.state.hid.asked && (this.port?.active ?? false);
  }

  protected override configured(): void {
    this.state.hid = hidField.reset();
  }

  protected override descriptor(type: number, index: number): Uint8Array | undefined {
    return descriptorOf(this.identity, type, index);
  }

  protected override endpoint(number: number, pid: number): UsbAnswer {
    if (number !== NEWS_ENDPOINT || pid !== Pid.IN) return 'timeout';
    const { hid } = this.state;
    hid.asked = true;
    const now = this.clock.ns();
    const again = hid.idle !== 0 && now - hid.reportNs >= BigInt(hid.idle) * IDLE_UNIT_NS;
    const report = this.nextReport() ?? (again ? this.report() : undefined);
    if (!report) return 'nak';
    hid.reportNs = now;
    return report;
  }

  protected override classAnswer({ code, value }: UsbRequest): Uint8Array | undefined {
    const { hid } = this.state;
    switch (code) {
      case HidRequest.REPORT:
        return value >> 8 === INPUT_REPORT ? this.report() : undefined;
      case HidRequest.IDLE:
        return Uint8Array.of(hid.idle);
      case HidRequest.PROTOCOL:
        return Uint8Array.of(hid.boot ? 0 : 1);
      default:
        return undefined;
    }
  }

  protected override classOrder({ code, value }: UsbRequest, data: Uint8Array): boolean {
    const { hid } = this.state;
    switch (code) {
      case HidRequest.SET_REPORT:
        this.takeReport(data);
        return true;
      case HidRequest.SET_IDLE:
        hid.idle = value >> 8;
        return true;
      case HidRequest.SET_PROTOCOL:
        if (this.identity.subclass === 0 || value > 1) return false;
        hid.boot = value === 0;
        return true;
      default:
        return false;
    }
  }

  protected abstract addTo(input: InputRouter): void;
  /** What is new since the last one; undefined: nothing. */
  protected abstract nextReport(): Uint8Array | undefined;
  /** How things are, without what has not been told yet. */
  protected abstract report(): Uint8Array;
  /** The host sends one. */
  protected takeReport(_data: Uint8Array): void {}
}
