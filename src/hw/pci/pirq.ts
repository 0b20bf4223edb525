/**
 * Where a function's INTx pin leads on a board with an i440FX and a PIIX3: to one of four lines,
 * PIRQA to PIRQD, each of which the PIIX3 routes to an input of the 8259s (Intel 82371SB data
 * sheet, section 2.2, PIRQRC). On this board it also leads to a pin of the IOAPIC of its own, from
 * 16 on, which no register moves. A board without a PIIX3 has PIRQA to PIRQD wired to where
 * firmware would have routed them.
 */
import type { IrqLine } from '../device.js';
import type { IrqRouter } from '../wiring.js';

/** gsi of pin 0..3 (A..D) of a slot: neighbours get different lines. */
export const intxGsi = (slot: number, pin: number) => 16 + ((slot + pin) % 8);

/** Where SeaBIOS and our own firmware step route PIRQA to PIRQD. */
const ROUTED = [10, 10, 11, 11] as const;
export const PIRQS = ROUTED.length;
/** Those IRQs, as levels: what the ELCR is set to. */
export const PCI_IRQS: readonly number[] = [...new Set(ROUTED)];
/** The timer, the keyboard, the cascade, the RTC and the FPU have theirs for themselves. */
const ROUTABLE = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15] as const;

/** PIRQA is 0. Pin A of slot 1 leads there, and each further slot is one line on. */
const pirqOf = (slot: number, pin: number) => (slot + pin + PIRQS - 1) % PIRQS;

/** The 8259 input behind pin 0..3 of a slot, as firmware leaves it. */
export const intxIrq = (slot: number, pin: number): number => ROUTED[pirqOf(slot, pin)];

export const routedByFirmware = (pirq: number): number => ROUTED[pirq];

export class PirqRouter {
  /** Undefined: to no input. */
  private readonly routes: (number | undefined)[] = [...ROUTED];
  /** Of each PIRQ: who drives it. It is wired-or. */
  private readonly drivers: boolean[][] = ROUTED.map(() => []);
  private readonly outputs: ReadonlyMap<number, IrqLine>;

  constructor(private readonly irqs: IrqRouter) {
    this.outputs = new Map(ROUTABLE.map(irq => [irq, irqs.line(irq)]));
  }

  /** A driver of both: pin 0..3 of a slot. */
  line(slot: number, pin: number): IrqLine {
    const ioapic = this.irqs.line(intxGsi(slot, pin));
    const pirq = pirqOf(slot, pin);
    const drivers = this.drivers[pirq];
    const index = drivers.push(false) - 1;
    return {
      set: level => {
        if (drivers[index] === level) return;
        drivers[index] = level;
        ioapic.set(level);
        this.drive(this.routes[pirq]);
      },
    };
  }

  /** irq: one that is not for PCI is as none. */
  route(pirq: number, irq: number | undefined): void {
    const before = this.routes[pirq];
    this.routes[pirq] = irq;
    this.drive(before);
    this.drive(irq);
  }

  private drive(irq: number | undefined): void {
    if (irq === undefined) return;
    const level = this.routes.some((to, n) => to === irq && this.drivers[n].includes(true));
    this.outputs.get(irq)?.set(level);
  }
}
