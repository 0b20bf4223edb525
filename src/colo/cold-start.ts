/**
 * A host that was down comes back, and its peer may never: what its arbiter's record lets it do by
 * itself (the state `returned` of arbiter/arbitration.ts). The owner's disk is the newest: it runs,
 * after it has waited for a replica that may hold a live guest. A replica in step goes on from its
 * disk where the owner has not come for as long; of two that both try, one wins the record. Where
 * the record is this host's own (a fence agent's) it lets it do nothing.
 */
import { asVmError, VmError } from '../base/errors.js';
import { mayTakeOver } from '../arbiter/arbitration.js';
import { ArbiterAway } from '../arbiter/contract.js';
import type { RefereeVerdict } from '../arbiter/referee.js';
import type { ArbiterRecord } from '../arbiter/record.js';
import { sleep } from '../migration/wait.js';
import type { ColoPorts, PairArbiter } from './contract.js';
import { leaseEndMs } from './fence.js';
import { pairedOf } from './record.js';
import { refereeOf } from './referee-of.js';

export interface Returned {
  /** The guest of a primary, for its peer's word. */
  guestWaits(): boolean;
  /** A secondary, for a primary. */
  replicaWaits(): boolean;
  /** The guest is the primary's, and runs. */
  run(): Promise<void>;
}

export class ColdStart {
  /** A replica is asking whether it goes on, or does: no primary is taken meanwhile. */
  doorShut = false;
  /** A replica has the guest now: it is to be started from its images, as the primary. */
  won = false;

  constructor(
    private readonly ports: ColoPorts,
    private readonly pair: PairArbiter,
    private readonly side: Returned,
  ) {}

  /** Until it is decided. waitMs: for the other side, by a side that could go on. Never rejects. */
  async decide(waitMs: number): Promise<void> {
    const { clock, lifecycle, options, report } = this.ports;
    const begunMs = clock.nowMs();
    // What this host granted before it was down: it does not know how much that was.
    await sleep(clock, leaseEndMs(options));
    let told: string | undefined;
    while (!lifecycle.ending) {
      const waited = clock.nowMs() - begunMs >= waitMs;
      try {
        if (this.pair.arbiter.keeps === 'own') return this.leaveToPerson();
        if (!this.waitsAs || (await this.attempt(waited))) return;
        told = undefined;
      } catch (error) {
        const { message } = asVmError(error);
        if (message !== told) report(`COLO: ${message}`);
        told = message;
        if (!(error instanceof ArbiterAway)) return;
      }
      await sleep(clock, options.retryMs);
    }
  }

  /**
   * A record of this host's own says what was so when it was last up. The other side may have had
   * it switched off, and have gone on: to fence that side now would take the newer guest away.
   */
  private leaveToPerson(): void {
    if (!this.waitsAs) return;
    const { name } = this.pair.arbiter;
    this.ports.report(
      `COLO: the arbiter '${name}' does not know what became of the guest while this host was ` +
        'down: the other side says so, or a person decides (colo failover NAME)',
    );
  }

  private get waitsAs(): 'primary' | 'secondary' | undefined {
    if (this.side.guestWaits()) return 'primary';
    const { record } = this.ports.identity;
    const whole = record?.role === 'secondary' && record.state === 'protected';
    return whole && this.side.replicaWaits() ? 'secondary' : undefined;
  }

  /** True: there is nothing more to decide. */
  private async attempt(waited: boolean): Promise<boolean> {
    const { identity } = this.ports;
    const { node } = this.pair;
    const image = pairedOf(identity.record);
    const next = identity.branchToBegin();
    if (!image || next === undefined) return true;
    const { branch } = image;
    const referee = refereeOf(this.ports, this.pair, image.pair);
    const record = await referee.look();
    if (!record) return true;
    const wanted = () => this.waitsAs !== undefined;
    if (record.owner !== node) {
      if (this.waitsAs === 'primary') return this.give(record);
      if (!mayTakeOver(record, { node, branch })) return true;
      if (!waited) return false;
    }
    if (this.waitsAs === 'secondary') {
      if (image.partial) throw PARTIAL;
      return this.takeOver(referee.bid(branch, next, wanted));
    }
    if (record.inStep && !waited) return false;
    return this.goOn(await referee.claim(next, wanted));
  }

  /** The other side is the owner: it has the newest state, whether it runs or not. */
  private async give({ owner }: ArbiterRecord): Promise<boolean> {
    await this.ports.identity.concede();
    const { name } = this.pair.arbiter;
    this.ports.report(
      `COLO: by the arbiter '${name}' the guest is ${owner}'s, it does not run here`,
    );
    return true;
  }

  private async goOn(verdict: RefereeVerdict): Promise<boolean> {
    if (verdict !== 'won') return false;
    if (this.waitsAs !== 'primary') return true;
    this.sayWon();
    await this.side.run();
    return true;
  }

  private async takeOver(asked: Promise<RefereeVerdict>): Promise<boolean> {
    this.doorShut = true;
    const verdict = await asked.catch((error: unknown) => {
      this.doorShut = false;
      throw error;
    });
    if (verdict !== 'won') return (this.doorShut = false);
    if (!(await this.writeWon())) return true;
    this.won = true;
    this.sayWon();
    return true;
  }

  /** The record names this side: until its images do, nothing runs. False: this process ends. */
  private async writeWon(): Promise<boolean> {
    const { clock, identity, lifecycle, options, report } = this.ports;
    let told: string | undefined;
    while (!lifecycle.ending) {
      try {
        await identity.goAlone();
        return true;
      } catch (error) {
        const { message } = asVmError(error);
        if (message !== told) report(`COLO: ${message}`);
        told = message;
      }
      await sleep(clock, options.retryMs);
    }
    return false;
  }

  private sayWon(): void {
    const { name } = this.pair.arbiter;
    this.ports.report(
      `COLO: by the arbiter '${name}' the guest is this side's: it starts anew here`,
    );
  }
}

const PARTIAL = new VmError(
  'the guest does not start here: the images here may hold part of an epoch',
  { hint: 'Start the other host; without it only a person can use them: colo image record IMAGE.' },
);
