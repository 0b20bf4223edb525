/** A USB keyboard: its reports are those that firmware knows, too (HID 1.11, appendix B.1). */
import { blob, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import type { InputRouter } from '../input/router.js';
import type { GuestClock } from '../wiring.js';
import type { HidIdentity } from './descriptors.js';
import { hidField, UsbHid } from './hid.js';
import { isModifier, keyUsage } from './key-usages.js';
import { keyboardReport } from './report-descriptors.js';
import { usbField } from './usb-device.js';

/** Presses that wait, in two bytes each: the key, and whether it went down. */
const WAITING_BYTES = 64;
/** Keys that are held beside modifiers: of more a report says that there are too many. */
const HELD = 16;
const REPORTED = 6;
const ROLL_OVER = 0x01;

export const usbKeyboardState = vmstate('usb-kbd', 1, {
  usb: usbField,
  hid: hidField,
  leds: u8.mask(0x1f),
  modifiers: u8,
  held: blob(HELD),
  waiting: blob(WAITING_BYTES),
});

const keyboard: HidIdentity = {
  product: 'USB Keyboard',
  subclass: 1,
  protocol: 1,
  report: keyboardReport,
  packet: 8,
  intervalMs: 10,
};

export class UsbKeyboard extends UsbHid<StateOf<typeof usbKeyboardState>> {
  readonly vmstate = usbKeyboardState;
  state = usbKeyboardState.reset();

  constructor(id: string, clock: Pick<GuestClock, 'ns'>) {
    super(id, keyboard, clock);
  }

  protected override addTo(input: InputRouter): void {
    const ready = () => this.ready;
    input.addKeyboard({
      get ready() {
        return ready();
      },
      key: this.guarded((code: number, down: boolean) => {
        if (!this.paused) this.press(code, down);
      }),
    });
  }

  private press(code: number, down: boolean): void {
    const usage = keyUsage(code);
    if (usage === 0) return;
    const s = this.state;
    // When there is no room the oldest counts without a report: nothing stays held for ever.
    if (s.waiting.length + 2 > WAITING_BYTES) this.takeOldest();
    s.waiting = Buffer.concat([s.waiting, Buffer.of(usage, down ? 1 : 0)]);
    this.port?.attention();
  }

  private takeOldest(): void {
    const s = this.state;
    const [usage, down] = s.waiting;
    s.waiting = Buffer.from(s.waiting.subarray(2));
    if (isModifier(usage)) {
      const bit = 1 << (usage & 7);
      s.modifiers = down ? s.modifiers | bit : s.modifiers & ~bit;
      return;
    }
    const others = s.held.filter(key => key !== usage);
    s.held = Buffer.from(down && others.length < HELD ? [...others, usage] : others);
  }

  protected override nextReport(): Uint8Array | undefined {
    if (this.state.waiting.length < 2) return undefined;
    this.takeOldest();
    return this.report();
  }

  protected override report(): Uint8Array {
    const { modifiers, held } = this.state;
    const report = new Uint8Array(2 + REPORTED);
    report[0] = modifiers;
    if (held.length > REPORTED) report.fill(ROLL_OVER, 2);
    else report.set(held, 2);
    return report;
  }

  protected override takeReport(data: Uint8Array): void {
    this.state.leds = (data.at(0) ?? 0) & 0x1f;
  }
}
