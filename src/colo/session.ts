/**
 * What both sides of a pair share: one link, one state, one COLO_EXIT, one way out for every
 * failure.
 */
import { VmError, failureOf, lastFailure } from '../base/errors.js';
import type { Stream } from '../host/ports.js';
import { Link } from '../migration/link.js';
import type { OutputHold } from '../net/contract.js';
import type { ColoExitReason } from '../qapi/types.js';
import type { PairState } from '../block/record/pair-record.js';
import { within } from '../migration/wait.js';
import type { ColoParts } from './contract.js';
import type { Controlled } from './controlled.js';
import type { DiskSync, DiskSyncInfo } from './disk-sync.js';
import { Failover, type ColoState, type Table, refusal } from './failover.js';
import { type ColoSide, type Message, codecOf } from './messages.js';
import { Patience } from './patience.js';
import type { ColoStatistics } from './statistics.js';
import type { ColoStep } from './steps.js';
import { trace, traceMessage } from './trace.js';

/** The peer, or this side, will not have this pair as it is: to try again changes nothing. */
export class Refusal extends VmError {}

export abstract class Session implements Controlled {
  protected readonly link: Link<Message>;
  protected readonly failover: Failover;
  protected outputs: OutputHold[] = [];
  /** Settles when the conversation is over; never rejects. Whatever takes over waits for it. */
  protected conversation: Promise<void> = Promise.resolve();
  /** Settles when a failover procedure, if one was begun, is through. */
  protected procedure: Promise<void> = Promise.resolve();
  protected diskSync: DiskSync | undefined;
  exitReason: ColoExitReason = 'none';
  /** Why COLO ended on this side. */
  why: string | undefined;
  /** When the pair began to stand as it does. */
  changedMs: number;
  /** When the secondary held a checkpoint whole for the last time. */
  protected wholeMs: number | undefined;
  readonly patience: Patience;
  /** The peer has left COLO, and said so. */
  protected peerLeft = false;
  private exitTold = false;
  /** Why the record of the pair does not say what it should. */
  private recordTrouble: string | undefined;
  /** Why this side is not to build on what it has in memory any more. */
  protected spoiled: VmError | undefined;

  constructor(
    protected readonly parts: ColoParts,
    readonly side: ColoSide,
    table: Table,
    stream: Stream,
  ) {
    this.failover = new Failover(table);
    this.changedMs = parts.clock.nowMs();
    this.failover.onPair = () => {
      this.changedMs = parts.clock.nowMs();
      parts.pairChanged?.();
    };
    this.patience = new Patience(parts.clock, parts.options, line => parts.report(line));
    this.link = new Link(stream, parts.clock, codecOf(side));
    this.link.sendLimitMs = parts.options.replyTimeoutMs;
    this.link.onMessage = (direction, message) => this.note(direction, message);
    this.link.urgent = message => this.urgent(message);
  }

  get state(): ColoState {
    return this.failover.state;
  }

  get peer(): string {
    return this.link.peer;
  }

  get heldPackets(): number {
    return this.outputs.reduce((sum, output) => sum + output.heldPackets, 0);
  }

  /** undefined: there was none. */
  get lastCheckpointMs(): number | undefined {
    return this.wholeMs === undefined ? undefined : this.parts.clock.nowMs() - this.wholeMs;
  }

  /** How far the disks are on the way into COLO; undefined: nothing is to be done. */
  get diskProgress(): DiskSyncInfo | undefined {
    return this.diskSync?.info;
  }

  /** What takes long just now, or is still to be mended, in words. */
  get waitsFor(): string | undefined {
    return this.patience.waitsFor ?? this.recordTrouble;
  }

  /** Nothing of this session goes on: conversation and procedure are over. */
  async over(): Promise<void> {
    await this.conversation;
    await this.procedure;
  }

  /** Runs the conversation to its end, whatever that is. */
  begin(): void {
    this.conversation = this.converse()
      .catch(thrown => this.leave(lastFailure(thrown)))
      .catch(thrown => this.warn(lastFailure(thrown)));
  }

  /** What follows an order or the peer's word. Whatever goes wrong in it is told. */
  protected proceed(procedure: Promise<void>): void {
    this.procedure = procedure.catch(thrown => this.stumble(lastFailure(thrown)));
  }

  /** A procedure ended where it has no answer of its own: if it may be, it is ordered again. */
  private stumble(error: VmError): void {
    if (!this.failover.move('failed')) return this.warn(error);
    const text =
      `${error.message}: the failover is not finished; x_colo_lost_heartbeat tries ` + 'again';
    this.parts.report(text);
    this.tellExit('error', text, { again: true });
  }

  // What only a primary has.

  readonly statistics: ColoStatistics | undefined = undefined;
  /** A guest that waits for a word of its peer may run: the peer has not gone on with it. */
  mayRun = false;

  /** The guest's disks are being replaced by the secondary's. */
  get replacing(): boolean {
    return false;
  }

  /** Something that a running wait depends on has changed (x-checkpoint-delay, a shutdown). */
  kick(): void {}

  /** A checkpoint as soon as possible; remembered while one is in flight. */
  requestCheckpoint(): void {}

  get cancellable(): boolean {
    return false;
  }

  cancel(): void {
    this.close();
  }

  /** x-colo-lost-heartbeat. Returns when it is accepted; the procedure follows. */
  abstract lostHeartbeat(): void;
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
   * Where a failure changes nothing for this guest: what stands there is more careful. People are
   * told, once until it is written, since a start from these images will wait for a word of theirs.
   */
  protected async tryRecord(state: PairState): Promise<boolean> {
    const { clock, identity, options } = this.parts;
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
    const { clock, identity, options } = this.parts;
    return within(clock, options.diskTimeoutMs, 'the record of the pair', identity.goAlone());
  }

  protected step(step: ColoStep): void {
    this.parts.step(step);
  }

  /** What goes wrong beside the way to the end, and does not change it. */
  protected warn(error: VmError): void {
    trace.failover_warning?.({ side: this.side, error: error.message });
    this.parts.report(`COLO: ${error.message}`);
  }

  /** COLO_EXIT, once; again: something else has become of it since. */
  protected tellExit(reason: 'request' | 'error', error?: string, { again = false } = {}): void {
    this.why = error ?? this.why;
    if (this.exitTold && !again) return;
    this.exitTold = true;
    this.exitReason = reason;
    this.parts.events.emit('COLO_EXIT', {
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
    this.parts.step(`${this.side}-${direction}-${message.type}`);
  }
}
