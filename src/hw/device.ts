/** What every guest-visible device is: state declared once, wiring apart, and nothing happens while it is paused. */
import type { VmState } from '../fields/vmstate.js';

/** The type of a declaration's live value. */
export type StateOf<V> = V extends VmState<infer T> ? T : never;

export interface IrqLine {
  set(level: boolean): void;
}

export abstract class Device<T = unknown> {
  /** The declaration; `state` is its live value. */
  abstract readonly vmstate: VmState<T>;
  abstract state: T;

  /** id: unique in the machine ("serial0", "net-pci0"), the section name of a checkpoint. */
  constructor(readonly id: string) {}

  /** Power-on state. */
  reset(): void {
    this.state = this.vmstate.reset();
    this.afterLoad();
  }

  /** Fold what lives in wiring (timers, request lists) into state. Called stopped, before save. */
  beforeSave(): void {}

  /** Recompute what derives from state: IRQ levels, timers, mappings. Cannot fail: parse() has passed. */
  afterLoad(): void {}

  /** The VM stops: finish or park what is in flight; afterwards the device neither touches RAM nor changes state. Idempotent. */
  async pause(): Promise<void> {}

  /** The VM runs (again, or here for the first time after a load). Idempotent. */
  resume(): void {}
}
