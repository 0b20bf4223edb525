/**
 * What stands between chips and the accel: interrupt lines that several devices share, and timers
 * in guest time.
 */
import type { VmAccel } from '../accel/contract.js';
import type { Clock } from '../host/ports.js';
import { type Contained, fromOutside } from './contain.js';
import type { IrqLine } from './device.js';

/** One gsi; its level is the OR of everyone who drives it (INTx is wired-or). */
class SharedLine {
  private drivers: boolean[] = [];

  constructor(
    private readonly accel: Pick<VmAccel, 'setIrq'>,
    private readonly gsi: number,
  ) {}

  driver(): IrqLine {
    const index = this.drivers.push(false) - 1;
    return {
      set: level => {
        if (this.drivers[index] === level) return;
        const before = this.level;
        this.drivers[index] = level;
        if (this.level !== before) this.drive();
      },
    };
  }

  private drive(): void {
    try {
      this.accel.setIrq(this.gsi, this.level);
    } catch (error) {
      throw fromOutside(error);
    }
  }

  get level(): boolean {
    return this.drivers.includes(true);
  }
}

/** Hands out interrupt lines by gsi. Only changes of a line's level reach the chips. */
export class IrqRouter {
  private readonly lines = new Map<number, SharedLine>();

  constructor(private readonly accel: Pick<VmAccel, 'setIrq'>) {}

  line(gsi: number): IrqLine {
    let shared = this.lines.get(gsi);
    if (!shared) this.lines.set(gsi, (shared = new SharedLine(this.accel, gsi)));
    return shared.driver();
  }

  /** After the chips were reset: they have forgotten the levels that the devices hold. */
  replay(): void {
    for (const [gsi, line] of this.lines) if (line.level) this.accel.setIrq(gsi, true);
  }
}

/** Guest time as devices see it. */
export interface GuestClock {
  ns(): bigint;
  /**
   * fn on the main loop when guest time has reached atNs; a time in the past means as soon as
   * possible, never synchronously.
   */
  timer(atNs: bigint, fn: () => void): { dispose(): void };
  /** Soon, on the main loop, never synchronously. */
  soon(fn: () => void): { dispose(): void };
  /** Wall time, ms since 1970: what a battery-backed clock shows. */
  wallMs(): number;
}

/** The same time; what a timer of this device throws stays with the device. */
export function containedClock(device: Contained, clock: GuestClock): GuestClock {
  return {
    ns: () => clock.ns(),
    wallMs: () => clock.wallMs(),
    soon: fn => clock.soon(device.guarded(fn)),
    timer: (atNs, fn) => clock.timer(atNs, device.guarded(fn)),
  };
}

/** Longest sleep at a stretch: guest time may be moved forward by a load. */
const MAX_SLEEP_MS = 60_000;

export function guestClock(accel: Pick<VmAccel, 'guestNs'>, host: Clock): GuestClock {
  return {
    ns: () => accel.guestNs(),
    wallMs: () => host.wallMs(),
    soon: fn => host.timer(0, fn),
    timer(atNs, fn) {
      let current = { dispose: () => undefined as void };
      const arm = () => {
        const leftMs = Number(atNs - accel.guestNs()) / 1e6;
        current = host.timer(Math.min(Math.max(leftMs, 0), MAX_SLEEP_MS), () =>
          accel.guestNs() >= atNs ? fn() : arm(),
        );
      };
      arm();
      return { dispose: () => current.dispose() };
    },
  };
}
