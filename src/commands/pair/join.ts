/**
 * A primary from a pair definition. Its guest runs at once, unless the peer says that it runs it,
 * or the guest's own record says that the peer may: then it waits until the peer has agreed to
 * follow, or the user decides.
 */
import { asVmError, type VmError } from '../../base/errors.js';
import { type QmpCaller, protect, type ProtectOptions } from './protect.js';
import type { PairDefinition } from './schema.js';

/** The guest of this process. */
export interface Guest {
  /** It has not run yet, and is meant to. */
  readonly waits: boolean;
  /** Why it may not run; undefined: it may. */
  readonly held: VmError | undefined;
  /** VmError: it may not. */
  start(): Promise<void>;
  /** VmError: the peer at this address runs the guest. False: no answer. */
  askPeer(uri: string, ms: number): Promise<boolean>;
}

/** A peer that is there answers at once. */
const ASK_MS = 2500;

export async function joinPeer(
  monitor: QmpCaller,
  pair: PairDefinition,
  guest: Guest,
  options: ProtectOptions,
): Promise<void> {
  let starting = false;
  let told = '';
  const start = () => {
    if (starting || !guest.waits || guest.held) return;
    starting = true;
    guest
      .start()
      .catch((error: unknown) => {
        const { message, options: more } = asVmError(error);
        const text = more.hint === undefined ? message : `${message}\n  ${more.hint}`;
        if (text !== told) options.note(text);
        told = text;
      })
      .finally(() => (starting = false));
  };
  // With a peer that is there the replicas come first: it need not be told what was written before.
  const ask = async () => {
    if (guest.waits && !(await guest.askPeer(pair.peer.migration, ASK_MS))) start();
  };
  const held = () => (guest.waits ? guest.held : undefined);
  await protect(monitor, pair, { ...options, ask, held, ready: start });
  start();
}
