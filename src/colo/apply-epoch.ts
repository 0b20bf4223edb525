/** A whole epoch becomes the state of the secondary's machine. */
import { VmError } from '../base/errors.js';
import { Turns } from '../migration/turns.js';
import type { WholeEpoch } from './arrival.js';
import type { ColoPorts } from './contract.js';

/**
 * A failure here means that neither the old nor the new state is whole: all that can be checked has
 * been. loading: false when the process ends meanwhile.
 */
export async function applyEpoch(
  { info, ram, devices }: WholeEpoch,
  { clock, lifecycle, options, step }: ColoPorts,
  loading: () => boolean,
): Promise<void> {
  const turns = new Turns(clock, options.turnBytes);
  await ram.apply(turns, () => step('secondary-half-applied'));
  if (!loading()) return;
  step('secondary-ram-applied');
  devices.apply();
  step('secondary-devices-applied');
  if (!info.ramHashed || !options.verifyRam || lifecycle.ram.hash() === info.ramHash) return;
  throw new VmError(`RAM differs from the primary's after epoch ${info.epoch}`);
}
