/**
 * A primary's guest that nobody holds back runs for the first time in this process. Where an
 * arbiter decides it is asked whose the guest is: of two hosts that were both started as one side,
 * each with images of its own, the second finds another VM's record there: its guest does not run.
 */
import { asVmError, VmError } from '../base/errors.js';
import { ArbiterAway } from '../arbiter/contract.js';
import type { Referee, RefereeVerdict } from '../arbiter/referee.js';
import type { PairRecord } from '../block/record/pair-record.js';
import type { ColoPorts, PairArbiter } from './contract.js';
import { isUnpaired } from './record.js';
import { refereeOf } from './referee-of.js';

export class FirstRun {
  constructor(
    private readonly ports: ColoPorts,
    private readonly pair: PairArbiter,
  ) {}

  /**
   * VmError: it may not run. Images that were never in a pair wait for the arbiter as long as it is
   * away: a process that ended meanwhile leaves nothing that tells whether it was answered.
   */
  async admit(): Promise<void> {
    const { identity } = this.ports;
    if (this.pair.arbiter.keeps === 'own' || identity.standings().length === 0) return;
    const record = identity.record ?? (await identity.enter());
    const referee = refereeOf(this.ports, this.pair, record.pair);
    const asked = isUnpaired(record) ? this.claim(referee, record) : this.look(referee);
    const answer = await asked.catch((error: unknown) => {
      throw new VmError(`the guest does not run: ${asVmError(error).message}`, { hint: HINT });
    });
    const { name } = this.pair.arbiter;
    if (answer === 'lost')
      throw new VmError(`the guest does not run: by the arbiter '${name}' it is another host's`);
  }

  /** A pair that comes about meanwhile has written what holds, which a late claim would undo. */
  private claim(referee: Referee, { branch }: PairRecord): Promise<RefereeVerdict> {
    const { identity, lifecycle } = this.ports;
    return referee.claim(branch, () => !lifecycle.ending && isUnpaired(identity.record));
  }

  private async look(referee: Referee): Promise<void> {
    await referee.look().catch((error: unknown) => {
      if (!(error instanceof ArbiterAway)) throw error;
    });
  }
}

const HINT =
  'Was another host started as this side, or are the images new? One host is each side; a new VM ' +
  'needs a place of its own at the arbiter.';
