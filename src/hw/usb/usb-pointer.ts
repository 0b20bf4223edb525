/**
 * A USB tablet, which tells where the pointer is, and a USB mouse, which tells how far it went.
 * Ways of one stretch with the same buttons are one report, as the guest asks for it.
 */
import { counted, i32, record, u8 } from '../../fields/field.js';
import { vmstate } from '../../fields/vmstate.js';
import type { StateOf } from '../device.js';
import { ABSOLUTE_MAX, type InputRouter, type PointerChange } from '../input/router.js';
import type { GuestClock } from '../wiring.js';
import type { HidIdentity } from './descriptors.js';
import { hidField, UsbHid } from './hid.js';
import { mouseReport, tabletReport } from './report-descriptors.js';
import { usbField } from './usb-device.js';

/** What waits for a guest that does not ask; when it is full, the last one takes all. */
const WAITING = 16;
/** Of a way that is not told yet. */
const FAR = 0x7fff;
/** Of one report. */
const STEP = 127;

const buttons = u8.mask(7);
const moment = (x: typeof i32) => record({ x, y: x, wheel: i32.range(-FAR, FAR), buttons });
const tabletMoment = moment(i32.range(0, ABSOLUTE_MAX));
const mouseMoment = moment(i32.range(-FAR, FAR));
type Moment = ReturnType<typeof mouseMoment.reset>;

export const usbTabletState = vmstate('usb-tablet', 1, {
  usb: usbField,
  hid: hidField,
  told: tabletMoment,
  waiting: counted(tabletMoment, WAITING),
});
export const usbMouseState = vmstate('usb-mouse', 1, {
  usb: usbField,
  hid: hidField,
  /** Of it only the buttons count. */
  told: mouseMoment,
  waiting: counted(mouseMoment, WAITING),
});

const tablet: HidIdentity = {
  product: 'USB Tablet',
  subclass: 0,
  protocol: 0,
  report: tabletReport,
  packet: 8,
  intervalMs: 10,
};
const mouse: HidIdentity = {
  product: 'USB Mouse',
  subclass: 1,
  protocol: 2,
  report: mouseReport,
  packet: 4,
  intervalMs: 10,
};

const limited = (value: number, limit: number) => Math.max(-limit, Math.min(value, limit));

export class UsbPointer extends UsbHid<StateOf<typeof usbMouseState>> {
  readonly vmstate: typeof usbMouseState;
  state: StateOf<typeof usbMouseState>;
  private readonly absolute: boolean;

  constructor(id: string, kind: 'tablet' | 'mouse', clock: Pick<GuestClock, 'ns'>) {
    super(id, kind === 'tablet' ? tablet : mouse, clock);
    this.absolute = kind === 'tablet';
    this.vmstate = this.absolute ? usbTabletState : usbMouseState;
    this.state = this.vmstate.reset();
  }

  protected override addTo(input: InputRouter): void {
    const ready = () => this.ready;
    input.addPointer({
      get ready() {
        return ready();
      },
      absolute: this.absolute,
      move: this.guarded((change: PointerChange) => {
        if (!this.paused) this.move(change);
      }),
    });
  }

  private move({ x, y, dx, dy, wheel, buttons: held }: PointerChange): void {
    const { waiting, told } = this.state;
    const last = waiting.at(-1);
    const before = waiting.at(-2) ?? told;
    // Where a button went down or up stays where it was.
    const apart = !last || last.buttons !== held || before.buttons !== held;
    if (!last || (apart && waiting.length < WAITING))
      waiting.push(this.absolute ? moved(x, y, wheel, held) : moved(dx, dy, wheel, held));
    else if (this.absolute) Object.assign(last, moved(x, y, last.wheel + wheel, held));
    else Object.assign(last, moved(last.x + dx, last.y + dy, last.wheel + wheel, held));
    this.port?.attention();
  }

  protected override nextReport(): Uint8Array | undefined {
    const { waiting } = this.state;
    const [first] = waiting;
    if (!first) return undefined;
    const next = { ...first, wheel: limited(first.wheel, STEP) };
    first.wheel -= next.wheel;
    if (!this.absolute) {
      next.x = limited(first.x, STEP);
      next.y = limited(first.y, STEP);
      first.x -= next.x;
      first.y -= next.y;
    }
    // A way that is longer than a report can say takes several.
    const rest = first.wheel !== 0 || (!this.absolute && (first.x !== 0 || first.y !== 0));
    if (!rest) waiting.shift();
    this.state.told = next;
    return this.bytes(next);
  }

  /** A way that was told is not told again. */
  protected override report(): Uint8Array {
    const { told } = this.state;
    return this.bytes(this.absolute ? { ...told, wheel: 0 } : moved(0, 0, 0, told.buttons));
  }

  private bytes({ x, y, wheel, buttons: held }: Moment): Uint8Array {
    const turn = wheel & 0xff;
    if (this.absolute) return Uint8Array.of(held, x & 0xff, x >> 8, y & 0xff, y >> 8, turn);
    const short = [held, x & 0xff, y & 0xff];
    return Uint8Array.from(this.state.hid.boot ? short : [...short, turn]);
  }
}

const far = (value: number) => limited(value, FAR);

const moved = (x: number, y: number, wheel: number, held: number): Moment => ({
  x: far(x),
  y: far(y),
  wheel: far(wheel),
  buttons: held,
});
