/**
 * A primary from a pair definition. Its guest runs at once, unless the peer says that it runs it,
 * or the guest's own record says that the peer may: then it waits until the peer has agreed to
 * follow, or the user decides.
 */
import { asVmError, type VmError } from '../../base/errors.js';
import { type Monitor, protect, type ProtectWorld } from './protect.js';
import type { PairDefinition } from './schema.js';

/** The guest of this process. */
export interface Guest {
  /** It has not run yet, and is meant to. */
  readonly waits: boolean;
  /** Why it may not run; undefined: it may. */
  readonly held: VmError | undefined;
  /** VmError: it may not. */
  start(): Promise<void>;
  /** VmError: the peer at this address runs the guest. No answer is none. */
  askPeer(uri: string, ms: number): Promise<void>;
}

/** A peer that is there answers at once. */
const askMs = 2500;

export async function joinPeer(
  monitor: Monitor,
  pair: PairDefinition,
  guest: Guest,
  world: ProtectWorld,
): Promise<void> {
  const start = () => {
    if (guest.waits && !guest.held)
      guest.start().catch((error: unknown) => world.note(asVmError(error).message));
  };
  const ask = async () => {
    if (!guest.waits) return;
    await guest.askPeer(pair.peer.migration, askMs);
    start();
  };
  const held = () => (guest.waits ? guest.held : undefined);
  await protect(monitor, pair, { ...world, ask, held, agreed: start });
  start();
}
