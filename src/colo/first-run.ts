/**
 * A primary's guest that nobody holds back runs for the first time in this process. Where an
 * arbiter decides it is asked whose the guest is. Of two hosts that were both started as one side,
 * each with images of its own, the second finds another VM's record there; of two with the images
 * of a pair that was ended in order, both started as its primary, the second finds that the first
 * one has begun. Its guest does not run.
 */
import { asVmError, VmError } from '../base/errors.js';
import { ArbiterAway } from '../arbiter/contract.js';
import type { Referee, RefereeVerdict } from '../arbiter/referee.js';
import type { PairRecord } from '../block/record/pair-record.js';
import type { ColoPorts, PairArbiter } from './contract.js';
import { isUnpaired } from './record.js';
import { refereeOf } from './referee-of.js';

/** `cont` waits so long for an arbiter; who starts a machine waits until it has answered. */
export const CONT_WAIT_MS = 5000;

export class FirstRun {
  /** The branch of the images that may run. */
  private admitted: string | undefined;

  constructor(
    private readonly ports: ColoPorts,
    private readonly pair: PairArbiter,
  ) {}

  /**
   * VmError: it may not run, or the arbiter has not answered within waitMs. Images that another
   * host may begin with as well wait for it as long as it is away: a process that ended meanwhile
   * leaves nothing that tells whether it was answered.
   */
  async admit(waitMs = Infinity): Promise<void> {
    const { clock, identity } = this.ports;
    if (this.pair.arbiter.keeps === 'own' || identity.standings().length === 0) return;
    const record = identity.record ?? (await identity.enter());
    if (record.branch === this.admitted) return;
    const endMs = clock.nowMs() + waitMs;
    const answer = await this.ask(record, endMs).catch((error: unknown) => {
      throw new VmError(`the guest does not run: ${asVmError(error).message}`, { hint: HINT });
    });
    const { name } = this.pair.arbiter;
    if (answer === 'lost')
      throw new VmError(`the guest does not run: by the arbiter '${name}' it is another host's`);
    if (answer === 'given-up' && clock.nowMs() >= endMs)
      throw new VmError(
        `the guest does not run: the arbiter '${name}' has not answered in ${waitMs} ms`,
      );
    if (answer !== 'given-up') this.admitted = record.branch;
  }

  /** A pair that comes about meanwhile has written what holds, which a late claim would undo. */
  private ask(record: PairRecord, endMs: number): Promise<RefereeVerdict | undefined> {
    const { clock, identity, lifecycle } = this.ports;
    const referee = refereeOf(this.ports, this.pair, record.pair);
    const { branch } = record;
    const wanted = () =>
      !lifecycle.ending &&
      clock.nowMs() < endMs &&
      identity.record?.branch === branch &&
      identity.record.state === record.state;
    if (isUnpaired(record)) return referee.claim(branch, wanted);
    const next = record.state === 'together' ? identity.branchToBegin() : undefined;
    return next === undefined ? this.look(referee) : referee.begin(branch, next, wanted);
  }

  private async look(referee: Referee): Promise<undefined> {
    await referee.look().catch((error: unknown) => {
      if (!(error instanceof ArbiterAway)) throw error;
    });
  }
}

const HINT =
  'Was another host started as this side, or are the images new? One host is each side; a new VM ' +
  'needs a place of its own at the arbiter.';
