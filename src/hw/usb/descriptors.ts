/**
 * What a device says of itself (USB 2.0, section 9.6; HID 1.11, section 6.2.1): one configuration
 * with one interface, and one endpoint that the host asks for news.
 */

export const Descriptor = {
  DEVICE: 1,
  CONFIGURATION: 2,
  STRING: 3,
  INTERFACE: 4,
  ENDPOINT: 5,
  HID: 0x21,
  REPORT: 0x22,
} as const;

/** Of endpoint 0: the smallest that there is, which every host can take. */
export const CONTROL_PACKET = 8;
/** The endpoint for news: number 1, from the device to the host. */
export const NEWS_ENDPOINT = 1;
export const NEWS_ADDRESS = 0x80 + NEWS_ENDPOINT;
const USB_1_1 = 0x0110;
const HID_1_11 = 0x0111;
const ENGLISH = 0x0409;
const HID_CLASS = 3;
const INTERRUPT = 3;
/** Powered by the bus, and it can wake the host. */
const ATTRIBUTES = 0xa0;
/** 100 mA, counted in 2 mA. */
const POWER = 50;
const MANUFACTURER = 'COLO';

/** QEMU's number for devices of its kind, which guests know. */
const VENDOR = 0x0627;
const PRODUCT = 0x0001;

export interface HidIdentity {
  readonly product: string;
  /** 1: firmware can use it by the boot protocol. */
  readonly subclass: number;
  /** 0 none, 1 keyboard, 2 mouse. */
  readonly protocol: number;
  /** How the bytes of a report are to be read. */
  readonly report: Buffer;
  /** The longest report. */
  readonly packet: number;
  /** How often the host shall ask. */
  readonly intervalMs: number;
}

const word = (value: number) => [value & 0xff, value >> 8];
const sized = (...rest: number[]) => Buffer.from([rest.length + 1, ...rest]);

const deviceDescriptor = (): Buffer =>
  sized(
    Descriptor.DEVICE,
    ...word(USB_1_1),
    ...[0, 0, 0], // the class is the interface's
    CONTROL_PACKET,
    ...word(VENDOR),
    ...word(PRODUCT),
    ...word(0),
    ...[1, 2, 0], // strings: manufacturer, product, no serial number
    1,
  );

const hidDescriptor = ({ report }: HidIdentity): Buffer =>
  sized(Descriptor.HID, ...word(HID_1_11), 0, 1, Descriptor.REPORT, ...word(report.length));

function configurationDescriptor(id: HidIdentity): Buffer {
  const face = [0, 0, 1, HID_CLASS, id.subclass, id.protocol, 0];
  const news = [NEWS_ADDRESS, INTERRUPT, ...word(id.packet), id.intervalMs];
  const parts = Buffer.concat([
    sized(Descriptor.INTERFACE, ...face),
    hidDescriptor(id),
    sized(Descriptor.ENDPOINT, ...news),
  ]);
  const whole = word(9 + parts.length);
  return Buffer.concat([
    sized(Descriptor.CONFIGURATION, ...whole, 1, 1, 0, ATTRIBUTES, POWER),
    parts,
  ]);
}

function stringDescriptor(product: string, index: number): Buffer | undefined {
  if (index === 0) return sized(Descriptor.STRING, ...word(ENGLISH));
  const text = [MANUFACTURER, product].at(index - 1);
  return text === undefined ? undefined : sized(Descriptor.STRING, ...Buffer.from(text, 'utf16le'));
}

/** undefined: there is none of that type and index. */
export function descriptorOf(id: HidIdentity, type: number, index: number): Buffer | undefined {
  switch (type) {
    case Descriptor.DEVICE:
      return deviceDescriptor();
    case Descriptor.CONFIGURATION:
      return index === 0 ? configurationDescriptor(id) : undefined;
    case Descriptor.STRING:
      return stringDescriptor(id.product, index);
    case Descriptor.HID:
      return hidDescriptor(id);
    case Descriptor.REPORT:
      return id.report;
    default:
      return undefined;
  }
}
