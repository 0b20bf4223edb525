/**
 * What both sides of a pair share: one link, one state, one COLO_EXIT, one way out for every
 * failure.
 */
import { VmError, failureOf, lastFailure } from '../base/errors.js';
import type { Replicated } from '../block/contract/replicated.js';
import type { Stream } from '../host/ports.js';
import { Link } from '../migration/link.js';
import type { OutputHold } from '../net/contract.js';
import type { ColoExitReason, PairStanding } from '../qapi/types.js';
import type { PairState } from '../block/record/pair-record.js';
import { within } from '../migration/wait.js';
import { Arbitration } from './arbitration.js';
import type { ColoPorts } from './contract.js';
import type { Controlled } from './controlled.js';
import type { DiskSync } from './disk-sync.js';
import { endReplication } from './disks.js';
import {
  FailoverStates,
  type ColoState,
  type TransitionTable,
  pairState,
  refusal,
} from './failover.js';
import type { SessionInfo } from './info.js';
import { type ColoSide, type Message, codecOf } from './messages.js';
import { Patience } from './patience.js';
import type { ColoStatistics } from './statistics.js';
import type { ColoStep } from './steps.js';
import { trace, traceMessage } from './trace.js';

/** The peer, or this side, will not have this pair as it is: to try again changes nothing. */
export class Refusal extends VmError {}

export abstract class Session implements Controlled {
  protected readonly link: Link<Message>;
  protected readonly failover: FailoverStates;
  protected outputHolds: OutputHold[] = [];
  protected abstract disks: readonly Replicated[];
  /**
   * Settles when the conversation has ended, and never rejects. A session that follows waits for
   * it.
   */
  protected conversation: Promise<void> = Promise.resolve();
  /** Settles when a failover procedure, if one was begun, is through. */
  protected procedure: Promise<void> = Promise.resolve();
  protected diskSync: DiskSync | undefined;
  exitReason: ColoExitReason = 'none';
  /** Why COLO ended on this side. */
  why: string | undefined;
  /** When the pair began to stand as it does. */
  private changedMs: number;
  /** When the secondary held a checkpoint whole for the last time. */
  protected wholeMs: number | undefined;
  readonly patience: Patience;
  /** The peer has left COLO, and said so. */
  protected peerLeft = false;
  protected readonly arbitration: Arbitration | undefined;
  private exitTold = false;
  /** Why the record of the pair does not say what it should. */
  private recordTrouble: string | undefined;
  /** Why this side is not to build on what it has in memory any more. */
  protected spoiled: VmError | undefined;

  constructor(
    protected readonly ports: ColoPorts,
    readonly side: ColoSide,
    table: TransitionTable,
    stream: Stream,
  ) {
    this.failover = new FailoverStates(table);
    this.arbitration = ports.arbiter && new Arbitration(ports.arbiter, ports, this);
    this.changedMs = ports.clock.nowMs();
    this.failover.onPair = () => this.pairChanged();
    this.patience = new Patience(ports.clock, ports.options, line => ports.report(line));
    this.link = new Link(stream, ports.clock, codecOf(side));
    this.link.sendLimitMs = ports.options.replyTimeoutMs;
    this.link.onMessage = (direction, message) => this.note(direction, message);
    this.link.urgent = message => this.urgent(message);
  }

  get state(): ColoState {
    return this.failover.state;
  }

  /** How the pair stands, for who asks. */
  get standing(): PairStanding {
    return pairState(this.state);
  }

  protected pairChanged(): void {
    this.changedMs = this.ports.clock.nowMs();
    this.ports.pairChanged?.();
    this.arbitration?.changed();
  }

  get peer(): string {
    return this.link.peer;
  }

  /** An arbiter has this side go on, and will not have the other one. */
  protected get decided(): boolean {
    return this.arbitration?.owns ?? false;
  }

  info(): SessionInfo {
    const nowMs = this.ports.clock.nowMs();
    const inStep = this.diskSync?.outcomes ?? [];
    return {
      sinceMs: nowMs - this.changedMs,
      lastCheckpointMs: this.wholeMs === undefined ? undefined : nowMs - this.wholeMs,
      waitsFor: this.patience.waitsFor ?? this.recordTrouble,
      peer: this.peer,
      disks: this.diskSync?.info,
      inStep: inStep.length > 0 ? inStep : undefined,
      heldPackets: this.outputHolds.reduce((sum, hold) => sum + hold.heldPackets, 0),
      statistics: this.statistics,
    };
  }

  /** The session has ended: neither the conversation nor a procedure runs. */
  async over(): Promise<void> {
    await this.conversation;
    await this.procedure;
  }

  /** Runs the conversation until it ends, in success or failure. */
  begin(): void {
    this.conversation = this.converse()
      .catch(thrown => this.leave(lastFailure(thrown)))
      .catch(thrown => this.warn(lastFailure(thrown)));
  }

  /** Runs what an order or a message of the peer asks for. A failure in it is reported. */
  protected proceed(procedure: Promise<void>): void {
    this.procedure = procedure.catch(thrown => this.stumble(lastFailure(thrown)));
  }

  /** A procedure ended where it has no answer of its own: if it may be, it is ordered again. */
  private stumble(error: VmError): void {
    if (!this.failover.move('failed')) return this.warn(error);
    const text =
      `${error.message}: the failover is not finished; x_colo_lost_heartbeat tries ` + 'again';
    this.ports.report(text);
    this.tellExit('error', text, { again: true });
  }

  // What only a primary has.

  readonly statistics: ColoStatistics | undefined = undefined;
  /** A guest that waits for its peer's answer may run: the peer has not run it. */
  mayRun = false;

  /** The guest's disks are being replaced by the secondary's. */
  get replacing(): boolean {
    return false;
  }

  /** Something that a running wait depends on has changed (x-checkpoint-delay, a shutdown). */
  kick(): void {}

  /** A checkpoint as soon as possible; remembered while one is in flight. */
  requestCheckpoint(): void {}

  /**
   * x-colo-switchover. Settles when the secondary has the guest. VmError: it has not, and why.
   */
  switchOver(): Promise<void> {
    throw new VmError('this side is the secondary: the primary is told to swap the roles');
  }

  /** x-colo-leave. Settles when this secondary is none any more. VmError: it still is, and why. */
  leavePair(): Promise<void> {
    throw new VmError('this side has the guest: x-colo-switchover gives it to the other one first');
  }

  /** A secondary that was told to leave: it is not to follow anew. */
  get hasLeft(): boolean {
    return false;
  }

  get cancellable(): boolean {
    return false;
  }

  cancel(): void {
    this.close();
  }

  /** x-colo-lost-heartbeat. Returns when it is accepted; the procedure follows. */
  abstract lostHeartbeat(): void;
  /** The other side goes on: this guest never runs again. */
  abstract concede(): void;
  protected abstract converse(): Promise<void>;
  /** The conversation ended with an error. */
  protected abstract leave(error: VmError): Promise<void>;
  protected abstract onUrgent(message: Message): boolean;
  /**
   * This process ends in order: the peer hears of it, and that this guest never runs again.
   * Bounded, never rejects.
   */
  abstract depart(why: string): Promise<void>;

  /** The process ends, or the migration is cancelled: the connection with it. */
  close(): void {
    this.link.destroy();
  }

  /** The connection fails now, as if it had been lost. */
  abort(error: VmError): void {
    this.link.fail(error);
  }

  /** This process has made a mistake: no checkpoint follows, what is on its way included. */
  distrust(error: VmError): void {
    this.spoiled = error;
    this.link.fail(error);
  }

  protected requireFailover(): void {
    if (!this.failover.move('lost-heartbeat')) throw new VmError(refusal(this.state));
  }

  /**
   * Writes a record whose failure does not change what this guest does: the old record only makes a
   * start more careful. The failure is reported once until the record is written, because a start
   * from these images will then wait for a user's decision.
   */
  protected async tryRecord(state: PairState): Promise<boolean> {
    const { clock, identity, options } = this.ports;
    const written = within(
      clock,
      options.diskTimeoutMs,
      'the record of the pair',
      identity.become(state),
    );
    return written.then(
      () => {
        this.recordTrouble = undefined;
        return true;
      },
      thrown => {
        const text = `the images do not say '${state}': ${failureOf(thrown).message}`;
        if (this.recordTrouble === undefined) this.warn(new VmError(text));
        this.recordTrouble = text;
        return false;
      },
    );
  }

  /** On a branch that is no other image's, durable at all of this side's. */
  protected goOnAsNext(): Promise<void> {
    const { clock, identity, options } = this.ports;
    return within(clock, options.diskTimeoutMs, 'the record of the pair', identity.goAlone());
  }

  protected step(step: ColoStep): void {
    this.ports.step(step);
  }

  /** Without a failover the secondary's images go back to the last checkpoint. */
  protected async stopDisks(failover: boolean): Promise<void> {
    const error = await endReplication(this.disks, failover, this.ports);
    if (error) this.warn(error);
  }

  /** What goes wrong beside the way to the end, and does not change it. */
  protected warn(error: VmError): void {
    trace.failover_warning?.({ side: this.side, error: error.message });
    this.ports.report(`COLO: ${error.message}`);
  }

  /** COLO_EXIT, once; again: something else has become of it since. */
  protected tellExit(reason: 'request' | 'error', error?: string, { again = false } = {}): void {
    this.why = error ?? this.why;
    if (this.exitTold && !again) return;
    this.exitTold = true;
    this.exitReason = reason;
    this.ports.events.emit('COLO_EXIT', {
      mode: this.side,
      reason,
      ...(error !== undefined && { error }),
    });
  }

  private urgent(message: Message): boolean {
    if (message.type === 'error') {
      this.note('got', message);
      this.peerLeft = true;
      const peer = this.side === 'primary' ? 'secondary' : 'primary';
      const refused = this.state === 'entering';
      const text = `the ${peer} ${refused ? 'refused' : 'left COLO'}: ${message.text}`;
      this.link.fail(refused ? new Refusal(text) : new VmError(text));
      return true;
    }
    return this.onUrgent(message);
  }

  protected note(direction: 'sent' | 'got', message: Message): void {
    traceMessage(direction, message.type);
    this.ports.step(`${this.side}-${direction}-${message.type}`);
  }
}
