/**
 * The primary's side: hello, known equal disks, precopy, then checkpoint after checkpoint. See
 * README.md for what holds its output back.
 */
import { VmError, failureOf, lastFailure } from '../base/errors.js';
import type { PrimaryDisk } from '../block/contract/replicated.js';
import type { Stream } from '../host/ports.js';
import { PagePacker } from '../migration/packed-pages.js';
import { PageStaging } from '../migration/pages.js';
import { sleep, within } from '../migration/wait.js';
import type { PairStanding } from '../qapi/types.js';
import { accepted } from './accepted.js';
import { Checkpoint } from './checkpoint.js';
import type { ColoPorts } from './contract.js';
import { DiskSync } from './disk-sync.js';
import { behindOf, replicationProgress, startAll, storedError } from './disks.js';
import { Due } from './due.js';
import { primaryTable } from './failover.js';
import { PrimaryHeartbeat } from './heartbeat.js';
import { bindAll, type BindContext, type ComparedDisk } from './intents.js';
import { dropsPeer, peerHeard } from './peer-heard.js';
import { Lease, type Moment } from './lease.js';
import { type Message, kindOf } from './messages.js';
import { Outcome } from './outcome.js';
import { sendRam } from './primary-precopy.js';
import { followsUs, reconcileAll } from './reconcile.js';
import { seated } from './seated.js';
import { Refusal, Session } from './session.js';
import { ColoStatistics } from './statistics.js';
import { trace } from './trace.js';

const RECORDING = 'writing the record of the pair';

export class ColoPrimary extends Session {
  override readonly statistics = new ColoStatistics();
  private readonly lease: Lease;
  private readonly heartbeat: PrimaryHeartbeat;
  private readonly staging = new PageStaging();
  /** undefined: the secondary takes pages as they are. */
  private packer: PagePacker | undefined;
  private epoch = 0;
  /** Its output and all before it may leave while the lease is valid. */
  private releasable = 0;
  private readonly due: Due;
  protected disks: PrimaryDisk[] = [];
  private yielding: Promise<void> = Promise.resolve();
  /** Nothing of this guest leaves any more. */
  private gateShut = false;
  /** The images have a branch of their own, and the secondary none that is whole. */
  private agreed = false;
  private tellNoted!: () => void;
  /** The secondary has heard that we go on alone. */
  private readonly noted = new Promise<void>(resolve => (this.tellNoted = resolve));
  /** The roles are to be swapped, and a user waits for it. */
  private swap: Outcome | undefined;
  /** The secondary has given its right up, or asks to: why. */
  private left: string | undefined;

  constructor(ports: ColoPorts, stream: Stream) {
    super(ports, 'primary', primaryTable, stream);
    const { clock, options, lifecycle } = ports;
    this.lease = new Lease(clock, options.leaseMs);
    const hurried = () =>
      this.swap !== undefined || lifecycle.shutdownRequested || lifecycle.failure !== undefined;
    const outputWaits = () => this.outputHolds.some(({ waits }) => waits);
    this.due = new Due({ clock, pace: options, cost: this.statistics, outputWaits, hurried });
    this.heartbeat = new PrimaryHeartbeat(this.link, clock, options, line => ports.report(line));
    this.failover.move('enter');
  }

  override get replacing(): boolean {
    const { options } = this.ports;
    return this.state === 'entering' && options.syncFrom === 'secondary' && !this.agreed;
  }

  /** Before the first vmstate-received nobody could take over, and nobody is told otherwise. */
  override get standing(): PairStanding {
    return this.state === 'protected' && this.releasable === 0 ? 'joining' : super.standing;
  }

  override requestCheckpoint(): void {
    this.due.request();
  }

  override kick(): void {
    this.due.kick();
  }

  override get cancellable(): boolean {
    return this.ports.migration.status !== 'device';
  }

  override lostHeartbeat(): void {
    if (this.state === 'entering' && this.ports.migration.status !== 'colo')
      throw new VmError("The feature 'colo' is not enabled", {
        hint: 'migrate_cancel ends a migration',
      });
    this.requireFailover();
    this.proceed(this.goOnAlone());
  }

  /** Its output is held from this turn on. */
  override distrust(error: VmError): void {
    this.quiet();
    super.distrust(error);
  }

  override async over(): Promise<void> {
    await super.over();
    await this.yielding;
  }

  protected async converse(): Promise<void> {
    await this.enter();
    for (;;) {
      const last = this.ports.lifecycle.shutdownRequested;
      const swap = last ? undefined : this.swap;
      const whole = await this.checkpoint(swap !== undefined);
      if (last && whole) return this.shutdownTogether();
      if (swap && !whole) this.endSwap(new VmError('its checkpoint was given up'));
      else if (swap) {
        const guest = this.giveAway();
        if (guest) return this.handOver(guest);
      }
      await this.due.wait(woken => this.link.guard(woken, 'waiting for the next checkpoint'));
    }
  }

  /** Until the secondary is ready and both sides replicate. The guest runs all the time. */
  private async enter(): Promise<void> {
    const { options, lifecycle, migration, identity } = this.ports;
    const manifest = await seated(this.ports);
    migration.ramTotalBytes = manifest.ramBytes;
    const { record } = identity;
    const { leaseMs, syncFrom } = options;
    const hello = {
      manifest,
      colo: true,
      leaseMs,
      packs: true,
      ...(record && { record }),
      ...(syncFrom && { syncFrom }),
    };
    await this.link.send({ type: 'hello', hello });
    const { disks: theirs, takesPacked } = await accepted(this.link, this.ports);
    if (takesPacked) this.packer = new PagePacker(lifecycle.ram, kindOf('packed-pages'));
    this.mayRun = syncFrom !== 'secondary' && (syncFrom === 'primary' || followsUs(theirs, record));
    this.heartbeat.start();
    this.heartbeat.beside(this.ports.entropy);
    migration.move('active');
    this.disks = this.ports.disks.primary();
    for (const disk of this.disks) disk.claim();
    this.outputHolds = this.ports.outputHolds();
    const { link, disks } = this;
    const sync = (this.diskSync = new DiskSync(disks, () => behindOf(disks)));
    const { pristine } = lifecycle;
    const report = (line: string) => this.ports.report(line);
    const context = { disks, link, options, identity, theirs, sync, pristine, report };
    await this.agree(await reconcileAll(context), context);
    await sendRam(this.link, this.ports);
    await this.link.send({ type: 'precopy-end' });
    await this.link.expect('checkpoint-ready', options.replyTimeoutMs + options.diskTimeoutMs);
    for (const disk of disks) disk.intents.confirm();
    migration.move('colo');
    sync.begin('copy');
    await this.link.guard(
      startAll(this.disks, 'primary'),
      'starting replication',
      options.diskTimeoutMs,
      () => replicationProgress(this.disks),
    );
    sync.done();
    const waits = () => this.due.kick();
    for (const hold of this.outputHolds) hold.hold(() => this.lease.valid, waits);
    options.syncFrom = undefined; // one word, one copy
    await this.link.guard(identity.become('protected'), RECORDING, options.diskTimeoutMs);
  }

  /** Both sides will be on one branch: the secondary writes it down before a byte can arrive. */
  private async agree(compared: ComparedDisk[], context: BindContext): Promise<void> {
    const { identity, options } = this.ports;
    const record = await this.link.guard(identity.enter(), RECORDING, options.diskTimeoutMs);
    this.mayRun = this.agreed = true;
    await bindAll(compared, record, context);
    await this.link.send({ type: 'record', record });
  }

  /**
   * True: the secondary has loaded it. False: it was given up, and the guest runs on. A lost link
   * throws. last: the guest stands still afterwards.
   */
  private async checkpoint(last: boolean): Promise<boolean> {
    this.due.begun();
    const broken = storedError(this.disks);
    if (broken) throw broken;
    const { failure } = this.ports.lifecycle;
    if (failure !== undefined) throw new VmError(failure);
    const checkpoint = new Checkpoint(
      ++this.epoch,
      {
        ports: this.ports,
        link: this.link,
        disks: this.disks,
        outputHolds: this.outputHolds,
        staging: this.staging,
        packer: this.packer,
        last,
      },
      this,
    );
    try {
      this.statistics.add(await checkpoint.run());
      this.wholeMs = this.ports.clock.nowMs();
      return true;
    } catch (thrown) {
      const error = failureOf(thrown);
      this.ports.lifecycle.resumeAfterCheckpoint();
      if (this.link.failed || checkpoint.offered || this.ports.lifecycle.failure !== undefined)
        throw this.link.failed ?? error;
      await checkpoint.abort();
      this.statistics.abort(error.message);
      trace.checkpoint_aborted?.({ epoch: this.epoch, why: error.message });
      const inRow = this.statistics.abortedInRow;
      if (inRow >= this.ports.options.abortsMax)
        throw error.during(`${inRow} checkpoints in a row were given up`);
      return false;
    }
  }

  /** Checkpoint: the next bytes may make the epoch whole on the other side. */
  offer(): boolean {
    return this.failover.move('offered');
  }

  /** Checkpoint: the main loop copies, and does nothing else for so long. */
  busy(ms: number): void {
    this.heartbeat.busy(ms);
  }

  /** Checkpoint: vmstate-received of this epoch has come; it was asked for at that moment. */
  received(epoch: number, askedAt: Moment): void {
    this.lease.prove(askedAt);
    const stood = this.standing;
    this.releasable = epoch;
    if (stood !== this.standing) this.pairChanged();
    this.step('primary-before-release');
    this.release();
    if (!this.lease.valid) this.heartbeat.beat();
    this.step('primary-released');
  }

  private release(): void {
    if (this.releasable > 0) for (const hold of this.outputHolds) hold.release(this.releasable);
  }

  override async switchOver(): Promise<void> {
    if (this.state !== 'protected' || this.wholeMs === undefined)
      throw new VmError(`the pair is not in step (${this.standing}): its roles stay`);
    await this.arbitration?.requireInStep();
    if (this.state !== 'protected') throw new VmError('the pair is not in step any more');
    this.swap ??= new Outcome();
    this.due.kick();
    await this.swap.settled;
  }

  private endSwap(error: VmError): void {
    this.swap?.fail(new VmError(`no swap of roles: ${error.message}`));
    this.swap = undefined;
  }

  /** undefined: something was asked for that must happen here. */
  private giveAway(): { run: boolean } | undefined {
    const { lifecycle } = this.ports;
    try {
      return lifecycle.giveAway();
    } catch (thrown) {
      this.endSwap(failureOf(thrown));
      lifecycle.resumeAfterCheckpoint();
      return undefined;
    }
  }

  /**
   * The last checkpoint is whole, and the guest stands still. Nothing of it leaves any more, before
   * the secondary can hear that: it need not wait for the lease. It answers by stop-request.
   */
  private async handOver(guest: { run: boolean }): Promise<void> {
    const { clock, options } = this.ports;
    if (!this.failover.move('hand-over')) throw new VmError('a failover came first');
    this.quiet();
    this.step('primary-handing-over');
    await this.link.send({ type: 'hand-over', ...guest });
    await this.link.guard(sleep(clock, options.peerTimeoutMs), 'hand-over');
    throw new VmError(`the secondary has not taken over in ${options.peerTimeoutMs} ms`);
  }

  /**
   * The last checkpoint is whole: nothing of the guest is left that the other side does not hold.
   */
  private async shutdownTogether(): Promise<void> {
    const { clock, lifecycle, migration, options } = this.ports;
    if (!this.failover.move('guest-shutdown')) throw new VmError('a failover came first');
    this.endSwap(new VmError('the guest has shut down'));
    await this.link.send({ type: 'guest-shutdown' }).catch(() => undefined);
    await within(clock, options.replyTimeoutMs, 'guest-shutdown', this.link.gone()).catch(
      () => undefined,
    );
    this.quiet();
    this.link.destroy();
    await this.stopDisks(false);
    await this.tryRecord('together');
    if (!this.gateShut) for (const hold of this.outputHolds) hold.releaseAll();
    migration.move('completed');
    lifecycle.finishShutdown();
  }

  protected override onUrgent(message: Message): boolean {
    switch (message.type) {
      case 'pong':
        this.note('got', message);
        this.proved(message.seq);
        return true;
      case 'heartbeat-port':
      case 'heartbeat-interval':
        this.note('got', message);
        this.heartbeat.hear(message);
        return true;
      case 'stop-request':
        this.note('got', message);
        if (!this.failover.move('peer-alone')) {
          // It takes over in spite of the guest's shutdown: what is still held must not leave
          // beside it.
          if (this.state === 'ended') this.closeGate();
          return true;
        }
        this.stopForGood();
        return true;
      case 'alone-noted':
        this.note('got', message);
        this.tellNoted();
        return true;
      case 'leave-request':
        this.note('got', message);
        void this.partWith();
        return true;
      case 'leaving':
        this.note('got', message);
        this.peerLeaves(`the secondary has left: ${message.text}`);
        return true;
      default:
        return false;
    }
  }

  override concede(): void {
    if (this.failover.move('peer-alone')) this.stopForGood();
  }

  private stopForGood(): void {
    this.closeGate();
    this.yielding = this.yieldToPeer().catch(thrown => this.warn(lastFailure(thrown)));
  }

  private proved(seq: number): void {
    const askedAt = this.heartbeat.answered(seq);
    if (askedAt) this.lease.prove(askedAt);
    this.release();
  }

  /**
   * The secondary has said that its guest will never run, so no person need decide. An arbiter's
   * record may still call it in step, and its images may be started again: that is asked first.
   */
  private peerLeaves(why: string): void {
    this.tellNoted();
    this.left = why;
    if (!this.arbitration && this.failover.move('peer-left')) this.proceed(this.goOnAlone());
    else this.link.fail(new VmError(why));
  }

  /** The secondary asks to leave. It follows until it hears that it may go. */
  private async partWith(): Promise<void> {
    const refusal = this.arbitration ? await this.arbitration.part() : 'the primary has no arbiter';
    if (refusal !== undefined) return this.link.post({ type: 'leave-refused', text: refusal });
    this.left = 'the secondary has left, as it was told';
    if (this.failover.move('peer-left')) this.proceed(this.goOnAlone());
  }

  /** Stops the output of this guest at once; it is not released again. */
  private closeGate(why = 'the secondary takes over'): void {
    this.gateShut = true;
    this.quiet();
    for (const hold of this.outputHolds) hold.drop();
    this.link.fail(new VmError(why));
    this.step('primary-gate-closed');
  }

  private quiet(): void {
    this.lease.end();
    this.heartbeat.stop();
  }

  private async yieldToPeer(): Promise<void> {
    const { lifecycle, migration } = this.ports;
    await this.conversation;
    await lifecycle.haltForPeer().catch(thrown => this.warn(failureOf(thrown)));
    this.link.post({ type: 'stopped' });
    lifecycle.ram.dirtyLog.stop();
    await this.stopDisks(false);
    await this.tryRecord('yielded');
    await this.link.farewell();
    if (migration.status === 'colo') migration.move('completed');
    if (this.swap) this.tellExit('request', 'its roles were swapped: the secondary has the guest');
    else this.tellExit('error', 'the secondary has taken over');
    this.swap?.done();
  }

  /**
   * Called by x-colo-lost-heartbeat, or because the secondary left: replication ends, the held
   * output is released, and the guest runs on unprotected.
   */
  private async goOnAlone(): Promise<void> {
    const { lifecycle, migration } = this.ports;
    const { left } = this;
    this.failover.move('begin');
    this.quiet();
    const heard =
      left === undefined ? peerHeard(this.link, this.ports, this.noted, this.decided) : undefined;
    if (left !== undefined) this.link.post({ type: 'going-alone' });
    this.link.fail(new VmError(left ?? 'failover was requested'));
    this.due.kick();
    await this.conversation;
    await this.stopDisks(true);
    this.step('primary-disks-stopped');
    lifecycle.ram.dirtyLog.stop();
    const problem = (await heard) ?? (await this.goOnAsNext().then(() => undefined, failureOf));
    if (problem) return this.stayLost(problem);
    this.step('primary-recorded');
    this.endSwap(new VmError(left ?? 'this side was told to go on alone'));
    lifecycle.resumeAfterCheckpoint();
    for (const hold of this.outputHolds) hold.releaseAll();
    this.failover.move('done');
    migration.move('completed');
    if (left === undefined) this.tellExit('request');
    else this.tellExit('error', `${left}; this guest goes on without protection`, { again: true });
    this.step('primary-alone');
    if (lifecycle.shutdownRequested) lifecycle.finishShutdown();
    await this.link.farewell();
  }

  /** Nothing has left yet, and the order may be given again. */
  private stayLost({ message, options: { hint } }: VmError): void {
    this.failover.move('failed');
    const text =
      `this guest does not go on alone: ${message}: ` +
      `${hint ?? 'mend that, and x_colo_lost_heartbeat again'}`;
    this.ports.report(text);
    this.tellExit('error', text, { again: true });
  }

  override async depart(why: string): Promise<void> {
    if (!this.failover.move('leave')) return;
    this.endSwap(new VmError(why));
    this.closeGate(why);
    this.link.post({ type: 'ended', text: why });
    await this.link.farewell();
  }

  protected override async leave(error: VmError): Promise<void> {
    const { lifecycle, migration } = this.ports;
    const entering = this.state === 'entering';
    if (!this.failover.move('error')) return;
    this.endSwap(error);
    // The gate closes before the connection does: a secondary that sees our end closed need not
    // wait for the lease.
    this.quiet();
    const drops = !entering && dropsPeer(this.link, this.ports);
    this.link.post({ type: drops ? 'dropped' : 'error', text: error.message });
    this.link.fail(error);
    // Keeps the connection while its messages can be read: a side that is told to go on alone must
    // be able to tell the other one.
    if (entering || !this.link.listening) void this.link.farewell();
    lifecycle.ram.dirtyLog.stop();
    if (!entering) this.tellExit('error', error.message);
    // Nothing will be committed any more: a guest's write must not wait for it.
    await this.stopDisks(false);
    if (!entering) return;
    if (this.agreed) await this.tryRecord('alone');
    for (const hold of this.outputHolds) hold.releaseAll();
    if (migration.status === 'colo') this.tellExit('error', error.message);
    // What the connection did not do is a refusal, of this side or the other: it stays one.
    const { failed } = this.link;
    const lasting = failed === error || failed instanceof Refusal ? error instanceof Refusal : true;
    const end = migration.status === 'cancelling' ? 'cancelled' : 'failed';
    migration.move(end, error.message, lasting);
    if (lifecycle.shutdownRequested) lifecycle.finishShutdown();
  }
}
