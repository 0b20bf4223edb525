/**
 * A session whose pair has an arbiter: what its operator would order, the arbiter's answer orders
 * (src/arbiter/arbitration.ts). Everything else, the fence and the lease too, is as without one.
 */
import { failureOf, VmError } from '../base/errors.js';
import type { Referee, RefereeVerdict } from '../arbiter/referee.js';
import { sleep } from '../migration/wait.js';
import type { ColoPorts, PairArbiter } from './contract.js';
import type { ColoState } from './failover.js';
import type { ColoSide } from './messages.js';
import { refereeOf } from './referee-of.js';

/** The session, as the arbiter's answers move it. */
export interface Arbitrated {
  readonly side: ColoSide;
  readonly state: ColoState;
  lostHeartbeat(): void;
  /** The other side goes on: this guest stops for good. */
  concede(): void;
}

const RETRY_FACTOR_MAX = 32;

export class Arbitration {
  /** The record calls this side its owner, by an answer to this session. */
  owns = false;
  /** One question at a time. */
  private asking: Promise<void> = Promise.resolve();
  private askedFor: ColoState | undefined;
  /** Takeovers that were not finished. */
  private unfinished = 0;
  /** The secondary asks to leave. */
  private parting = false;

  constructor(
    private readonly pair: PairArbiter,
    private readonly ports: ColoPorts,
    private readonly session: Arbitrated,
  ) {}

  /** The session stands in another state. */
  changed(): void {
    // A replica that loads an epoch holds it whole already.
    const state = this.in('loading') ? 'protected' : this.session.state;
    if (state === this.askedFor) return;
    this.askedFor = state;
    if (state === 'lost' || (state === 'handing-over' && this.session.side === 'secondary'))
      this.then(() => this.decide(state));
    else if (state === 'protected') this.then(() => this.inStep());
    else if (state === 'completed' && !this.owns) this.then(() => this.ordered());
    else if (state === 'unfinished' && this.owns) this.then(() => this.again());
  }

  private then(ask: () => Promise<void>): void {
    this.asking = this.asking.then(ask).catch((thrown: unknown) => {
      // Nothing is taken over: both sides keep what they have, and an operator decides.
      this.ports.report(`COLO: ${failureOf(thrown).message}`);
    });
  }

  private referee(): { referee: Referee; branch: string } | undefined {
    const { record } = this.ports.identity;
    if (!record) return undefined;
    return { referee: refereeOf(this.ports, this.pair, record.pair), branch: record.branch };
  }

  /** The replica holds a whole state. Until this is written it may not take over. */
  private async inStep(): Promise<void> {
    const known = this.referee();
    const wanted = () => (this.in('protected') || this.in('loading')) && !this.parting;
    if (!known || !wanted()) return;
    const { referee, branch } = known;
    const { peer } = this.pair;
    if (this.session.side === 'secondary') return void (await referee.note(peer, branch, wanted));
    const verdict = await referee.claim(branch, wanted);
    const sure = verdict === 'won' ? await referee.confirm(peer, branch, wanted) : verdict;
    if (sure === 'lost') this.concede();
  }

  /** VmError: this is no time for a planned swap of roles. */
  async requireInStep(): Promise<void> {
    const { arbiter, node, peer } = this.pair;
    const { name } = arbiter;
    if (arbiter.keeps === 'own')
      throw new VmError(
        `the arbiter '${name}' would have this host switched off: no planned swap`,
        {
          hint: 'End this VM in order, and have the other side go on: colo failover NAME.',
        },
      );
    const record = await this.referee()?.referee.look();
    if (record?.owner === node && record.replica === peer && record.inStep) return;
    throw new VmError(`the arbiter '${name}' does not call the secondary in step yet`);
  }

  /**
   * The secondary is to be called out of step while it follows: nothing has to wait for that. Gives
   * the reason where that was not to be had; then it is confirmed in step again, because what was
   * asked may still come about.
   */
  async part(): Promise<string | undefined> {
    const { clock, identity, options } = this.ports;
    const { keeps, name } = this.pair.arbiter;
    if (keeps === 'own') return `the arbiter '${name}' would have the leaving host switched off`;
    if (this.parting) return 'it is asked for already';
    const end = clock.nowMs() + options.stopTimeoutMs;
    this.parting = true;
    const answer: { verdict: RefereeVerdict } = { verdict: 'given-up' };
    this.then(async () => {
      const known = this.referee();
      const next = identity.branchToBegin();
      const wanted = () => this.in('protected') && clock.nowMs() < end;
      if (known && next !== undefined) answer.verdict = await known.referee.claim(next, wanted);
    });
    await this.asking;
    this.parting = false;
    if (answer.verdict === 'won') this.owns = true;
    if (this.owns) return undefined;
    if (answer.verdict === 'lost') {
      this.concede();
      return `by the arbiter '${name}' the guest is the other side's`;
    }
    this.then(() => this.inStep());
    return `the arbiter '${name}' has not answered in ${options.stopTimeoutMs} ms`;
  }

  /** The peer is lost, or hands its guest over. */
  private async decide(state: ColoState): Promise<void> {
    const known = this.referee();
    const { identity, lifecycle } = this.ports;
    const next = identity.branchToBegin();
    if (!known || next === undefined) return;
    if (this.session.side === 'primary' && lifecycle.failure !== undefined)
      return this.stopFailed(lifecycle.failure);
    const { referee, branch } = known;
    const wanted = () => this.in(state);
    const verdict =
      this.session.side === 'primary'
        ? await referee.claim(next, wanted)
        : await referee.bid(branch, next, wanted);
    if (verdict === 'given-up' || !wanted()) return;
    await this.obey(verdict);
  }

  /** Its guest cannot go on, and the secondary's can. */
  private stopFailed(failure: string): void {
    this.ports.report(`COLO: ${failure}: this guest stops for good, and the secondary may go on`);
    this.session.concede();
  }

  private async obey(verdict: RefereeVerdict): Promise<void> {
    if (verdict === 'lost') return this.concede();
    this.owns = true;
    this.ports.report(`COLO: the arbiter '${this.pair.arbiter.name}' has this side go on`);
    this.session.lostHeartbeat();
    // What was in the way may be gone: it is ordered again, as a person would.
    await sleep(this.ports.clock, this.ports.options.retryMs);
    this.askedFor = this.in('lost') ? undefined : this.askedFor;
    this.changed();
  }

  /**
   * A disk was in the way of the takeover: nobody else may go on, and it may be well again. Each
   * attempt is told of: there are fewer and fewer.
   */
  private async again(): Promise<void> {
    const { clock, options } = this.ports;
    await sleep(clock, options.retryMs * Math.min(2 ** this.unfinished++, RETRY_FACTOR_MAX));
    if (this.in('unfinished')) this.session.lostHeartbeat();
  }

  /** An operator, or the peer's own word, has decided. */
  private async ordered(): Promise<void> {
    const known = this.referee();
    if (known) await known.referee.order(known.branch, () => this.in('completed'));
  }

  private concede(): void {
    const { name } = this.pair.arbiter;
    const text = `the arbiter '${name}' does not let this side go on: its guest stops for good`;
    this.ports.report(`COLO: ${text}`);
    this.session.concede();
  }

  private in(state: ColoState): boolean {
    return this.session.state === state;
  }
}
