/**
 * A guest that is alone looks for its secondary: after a takeover, and after the loss of a
 * secondary, for as long as that takes. Who may run is decided elsewhere; here nothing is asked but
 * a peer that waits.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { pause, protect, type QmpCaller } from './protect.js';
import type { PairDefinition } from './schema.js';

export interface Lonely {
  /** The guest is here, not over, and nobody would take it over; undefined: it is over. */
  alone(): boolean | undefined;
  note(line: string): void;
  readonly signal: AbortSignal;
}

const LOOK_MS = 500;
/** After what will hardly change by itself. */
const SLOW_MS = 10_000;

/** Until the guest is over, or the signal comes. Never rejects. */
export async function rejoin(
  monitor: QmpCaller,
  pair: PairDefinition,
  { alone, note, signal }: Lonely,
): Promise<void> {
  let told = '';
  const once = (line: string) => {
    if (line !== told) note(line);
    told = line;
  };
  try {
    for (let state = alone(); state !== undefined; state = alone()) {
      if (!state) {
        await pause(LOOK_MS, signal);
        continue;
      }
      const failure = await protect(monitor, pair, { note, signal, waitMs: Infinity }).then(
        () => undefined,
        asVmError,
      );
      told = failure ? told : '';
      if (!failure) continue;
      signal.throwIfAborted();
      const { hint } = failure.options;
      once(`${failure.message}${hint === undefined ? '' : `\n  ${hint}`}`);
      await pause(SLOW_MS, signal);
    }
  } catch (error) {
    // The signal's: the VM is over.
    if (!(error instanceof VmError)) throw error;
  }
}
