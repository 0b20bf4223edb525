/**
 * One record of one VM, kept where both sides can reach it, and changed by comparison only. Asked
 * when something changes (a pair forms, a peer is lost, roles are swapped), never in between.
 */
import type { Disposable } from '../base/disposable.js';
import { VmError, assert } from '../base/errors.js';
import type { ArbiterRecord } from './record.js';

/** A record as it was read. */
export interface Held {
  readonly record: ArbiterRecord;
  /** Which writing of it this is; only the arbiter that gave it can tell. */
  readonly version: string;
}

export type SwapResult =
  /** `next` is what the arbiter holds, or held until a later change of another. */
  | 'won'
  /** Another change came first, or since: `next` is not what it holds, and never will be. */
  | 'lost';

export interface Arbiter extends Disposable {
  /** For people. */
  readonly name: string;
  /**
   * shared: one record for both sides. own: each side keeps its own, and a change that takes the
   * guest from the other side has that side switched off first.
   */
  readonly keeps: 'shared' | 'own';
  /**
   * Where the record is, however this host reaches it: the same word on both hosts for the same
   * record. Where there is none of these, the address says it. ArbiterAway: it is not known now.
   */
  place?(): Promise<string>;
  /**
   * The newest record that was ever won, or undefined if there has been none. ArbiterAway: not
   * within the bound. Any other VmError: what is there cannot be used, and why.
   */
  read(): Promise<Held | undefined>;
  /**
   * Replaces the record that was read, undefined: there was none. Of several that replace the same
   * one, one wins. ArbiterAway: it is not known which, and it may still win later; read again.
   */
  compareAndSet(held: Held | undefined, next: ArbiterRecord): Promise<SwapResult>;
}

/** No answer within the bound, which says nothing about the record. */
export class ArbiterAway extends VmError {}

/** What every backend may rely on. */
export function checkNext(held: Held | undefined, next: ArbiterRecord): void {
  assert(next.term === (held?.record.term ?? 0) + 1, 'each change of a record is one term more');
  assert(held === undefined || held.record.vm === next.vm, 'a record stays with its VM');
}

/** The VM's own record. VmError: it is another's. */
export function requireVm(held: Held | undefined, vm: string, name: string): Held | undefined {
  if (held === undefined || held.record.vm === vm) return held;
  throw new VmError(
    `the arbiter '${name}' holds the record of another VM (${held.record.vm}, not ${vm})`,
    { hint: 'Each VM needs a record of its own: give this one another name there.' },
  );
}
