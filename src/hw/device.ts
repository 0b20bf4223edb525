/**
 * What every guest-visible device is: state declared once, wiring apart, and nothing happens while
 * it is paused. An exception of its own breaks the device and nothing else: it takes no part any
 * more until it is reset, and that it is broken goes where its state goes.
 */
import type { VmState } from '../fields/vmstate.js';
import { printable } from '../base/printable.js';
import { type Contained, OutsideError } from './contain.js';

/** The type of a declaration's live value. */
export type StateOf<V> = V extends VmState<infer T> ? T : never;

export interface IrqLine {
  set(level: boolean): void;
}

/** Of the sentence that says why a device is broken. */
export const MAX_FAILURE = 200;

export abstract class Device<T = unknown> implements Contained {
  /** The declaration; `state` is its live value. */
  abstract readonly vmstate: VmState<T>;
  abstract state: T;
  private brokenBy: string | undefined;
  /** Called when the device breaks. Without it the device is not contained. */
  onBroken: (why: string, thrown: unknown) => void = (_why, thrown) => {
    throw thrown;
  };

  /** id: unique in the machine ("serial0", "net-pci0"), the section name of a checkpoint. */
  constructor(readonly id: string) {}

  /** Power-on state. */
  reset(): void {
    this.brokenBy = undefined;
    this.state = this.vmstate.reset();
    this.afterLoad();
  }

  /** Fold what lives in wiring (timers, request lists) into state. Called stopped, before save. */
  beforeSave(): void {}

  /**
   * Recompute what derives from state: IRQ levels, timers, mappings. Cannot fail: parse() has
   * passed.
   */
  afterLoad(): void {}

  /**
   * The VM stops: finish or park what is in flight; afterwards the device neither touches RAM nor
   * changes state. Idempotent.
   */
  async pause(): Promise<void> {}

  /** The VM runs (again, or here for the first time after a load). Idempotent. */
  resume(): void {}

  // --- containment

  /** Why it is broken; undefined: it is not. */
  get failure(): string | undefined {
    return this.brokenBy;
  }

  get silent(): boolean {
    return this.brokenBy !== undefined;
  }

  /** A state was loaded that says so. */
  setFailure(why: string | undefined): void {
    this.brokenBy = why;
  }

  broke(thrown: unknown): void {
    if (thrown instanceof OutsideError) throw thrown;
    if (this.brokenBy !== undefined) return;
    this.brokenBy = printable(
      thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown),
      MAX_FAILURE,
    );
    this.whenBroken();
    this.onBroken(this.brokenBy, thrown);
  }

  /** Runs fn; what it throws is the device's end, not the caller's. */
  contain<R>(fn: () => R, otherwise: R): R {
    try {
      return fn();
    } catch (error) {
      this.broke(error);
      return otherwise;
    }
  }

  /** A callback for the world: does nothing while the device is broken. */
  guarded<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void {
    return (...args) => {
      if (this.brokenBy !== undefined) return;
      try {
        fn(...args);
      } catch (error) {
        this.broke(error);
      }
    };
  }

  /** What its kind does when it breaks. Must not throw. */
  protected whenBroken(): void {}

  /** The driver has reset it. */
  protected repaired(): void {
    this.brokenBy = undefined;
  }
}
