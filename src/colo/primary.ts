/**
 * The primary's side: hello, known equal disks, precopy, then checkpoint after checkpoint. See
 * README.md for what holds its output back.
 */
import { VmError, failureOf, lastFailure } from '../base/errors.js';
import type { PrimaryDisk } from '../block/contract/replicated.js';
import type { Stream } from '../host/ports.js';
import { unexpected } from '../migration/link.js';
import { precopy } from '../migration/precopy.js';
import { Pace } from '../migration/pace.js';
import { PageStaging, chunkPagesOfData, encodeChunk } from '../migration/pages.js';
import type { DiskStanding } from '../migration/standing.js';
import { Turns } from '../migration/turns.js';
import { sleep, within } from '../migration/wait.js';
import { Checkpoint } from './checkpoint.js';
import type { ColoParts } from './contract.js';
import { DiskSync } from './disk-sync.js';
import { behindOf, progressOf, startAll, stopAll, storedError } from './disks.js';
import { primaryTable } from './failover.js';
import { PrimaryHeartbeat } from './heartbeat.js';
import { leaseEndMs } from './fence.js';
import { Lease, type Moment } from './lease.js';
import { type Message, kindOf } from './messages.js';
import { followsUs, reconcileAll } from './reconcile.js';
import { Refusal, Session } from './session.js';
import { ColoStatistics } from './statistics.js';
import { trace } from './trace.js';

const recording = 'writing the record of the pair';

export class ColoPrimary extends Session {
  override readonly statistics = new ColoStatistics();
  private readonly lease: Lease;
  private readonly heartbeat: PrimaryHeartbeat;
  private readonly staging = new PageStaging();
  private epoch = 0;
  /** Its output and all before it may leave while the lease is valid. */
  private releasable = 0;
  private checkpointWanted = false;
  private wake: () => void = () => undefined;
  private lastEndMs = 0;
  private disks: PrimaryDisk[] = [];
  private yielding: Promise<void> = Promise.resolve();
  /** Nothing of this guest leaves any more. */
  private gateShut = false;
  /** The images have a branch of their own, and the secondary none that is whole. */
  private agreed = false;
  private tellNoted!: () => void;
  /** The secondary has heard that we go on alone. */
  private readonly noted = new Promise<void>(resolve => (this.tellNoted = resolve));

  constructor(parts: ColoParts, stream: Stream) {
    super(parts, 'primary', primaryTable, stream);
    this.lease = new Lease(parts.clock, parts.options.leaseMs);
    this.heartbeat = new PrimaryHeartbeat(this.link, parts.clock, parts.options);
    this.failover.move('enter');
  }

  override get replacing(): boolean {
    const { options } = this.parts;
    return this.state === 'entering' && options.syncFrom === 'secondary' && !this.agreed;
  }

  override requestCheckpoint(): void {
    this.checkpointWanted = true;
    this.wake();
  }

  override kick(): void {
    this.wake();
  }

  override get cancellable(): boolean {
    return this.parts.migration.status !== 'device';
  }

  override lostHeartbeat(): void {
    if (this.state === 'entering' && this.parts.migration.status !== 'colo')
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
      const last = this.parts.lifecycle.shutdownRequested;
      const whole = await this.checkpoint();
      this.lastEndMs = this.parts.clock.nowMs();
      if (last && whole) return this.shutdownTogether();
      await this.untilDue();
    }
  }

  /** Until the secondary is ready and both sides replicate. The guest runs all the time. */
  private async enter(): Promise<void> {
    const { options, lifecycle, migration, identity } = this.parts;
    const manifest = lifecycle.manifest();
    migration.ramTotalBytes = manifest.ramBytes;
    const { record } = identity;
    const { leaseMs, syncFrom } = options;
    const hello = {
      manifest,
      colo: true,
      leaseMs,
      ...(record && { record }),
      ...(syncFrom && { syncFrom }),
    };
    await this.link.send({ type: 'hello', hello });
    const theirs = await this.accepted();
    this.mayRun = syncFrom !== 'secondary' && (syncFrom === 'primary' || followsUs(theirs, record));
    this.heartbeat.start();
    migration.move('active');
    this.disks = this.parts.disks.primary();
    for (const disk of this.disks) disk.claim();
    this.outputs = this.parts.outputs();
    const { link, disks } = this;
    const sync = (this.diskSync = new DiskSync(disks, () => behindOf(disks)));
    const { pristine } = lifecycle;
    await reconcileAll({ disks, link, options, identity, theirs, sync, pristine });
    await this.agree();
    await this.precopy();
    await this.link.send({ type: 'precopy-end' });
    await this.link.expect('checkpoint-ready', options.replyTimeoutMs + options.diskTimeoutMs);
    migration.move('colo');
    sync.begin('copy');
    await this.link.guard(
      startAll(this.disks, 'primary'),
      'starting replication',
      options.diskTimeoutMs,
      () => progressOf(this.disks),
    );
    sync.done();
    for (const output of this.outputs) output.hold(() => this.lease.valid);
    options.syncFrom = undefined; // one word, one copy
    await this.link.guard(identity.become('protected'), recording, options.diskTimeoutMs);
  }

  /** What the secondary's images know. VmError: it refused, or it runs the guest itself. */
  private async accepted(): Promise<DiskStanding[]> {
    const { identity, options } = this.parts;
    const message = await this.link.next('waiting for accept', options.replyTimeoutMs);
    if (message.type === 'accept') return message.disks ?? [];
    if (message.type !== 'superseded') throw unexpected(message.type, 'accept');
    throw new Refusal((await identity.heardOf(message.record)).message);
  }

  /** Both sides will be on one branch: the secondary writes it down before a byte can arrive. */
  private async agree(): Promise<void> {
    const { identity, options } = this.parts;
    const record = await this.link.guard(identity.enter(), recording, options.diskTimeoutMs);
    this.mayRun = this.agreed = true;
    await this.link.send({ type: 'record', record });
  }

  private async precopy(): Promise<void> {
    const { clock, lifecycle, migration, options, parameters } = this.parts;
    const pace = new Pace(clock, parameters);
    const target = {
      sendChunk: async (staging: PageStaging, from: number, to: number) => {
        const frame = encodeChunk(kindOf('pages'), staging, from, to);
        migration.sent(frame.length, to - from, chunkPagesOfData(frame));
        await this.link.sendFrame({ type: 'pages', body: frame }, frame);
        await this.link.guard(pace.after(frame.length), 'max-bandwidth');
      },
      endRound: () => this.link.send({ type: 'round-end' }),
      progress: (round: number, dirtyPages: number) => migration.pass(round, dirtyPages),
    };
    const chunkPages = () => pace.chunkPages(options.chunkPages);
    await precopy(lifecycle, target, {
      chunkPages,
      rounds: options.precopyRounds,
      turns: new Turns(clock, options.turnBytes),
      enough: pages => pages <= options.precopyEnoughPages,
    });
  }

  /**
   * True: the secondary has loaded it. False: it was given up, and the guest runs on. A lost link
   * throws.
   */
  private async checkpoint(): Promise<boolean> {
    this.checkpointWanted = false;
    const broken = storedError(this.disks);
    if (broken) throw broken;
    const { failure } = this.parts.lifecycle;
    if (failure !== undefined) throw new VmError(failure);
    const checkpoint = new Checkpoint(
      ++this.epoch,
      {
        parts: this.parts,
        link: this.link,
        disks: this.disks,
        outputs: this.outputs,
        staging: this.staging,
      },
      this,
    );
    try {
      this.statistics.add(await checkpoint.run());
      this.wholeMs = this.parts.clock.nowMs();
      return true;
    } catch (thrown) {
      const error = failureOf(thrown);
      if (this.link.failed || checkpoint.offered || this.parts.lifecycle.failure !== undefined)
        throw this.link.failed ?? error;
      await checkpoint.abort();
      this.statistics.abort(error.message);
      trace.checkpoint_aborted?.({ epoch: this.epoch, why: error.message });
      const inRow = this.statistics.abortedInRow;
      if (inRow >= this.parts.options.abortsMax)
        throw error.during(`${inRow} checkpoints in a row were given up`);
      return false;
    }
  }

  /** Checkpoint: the next bytes may make the epoch whole on the other side. */
  offer(): boolean {
    return this.failover.move('offered');
  }

  /** Checkpoint: vmstate-received of this epoch has come; it was asked for at that moment. */
  received(epoch: number, askedAt: Moment): void {
    this.lease.prove(askedAt);
    this.releasable = epoch;
    this.step('primary-before-release');
    this.release();
    if (!this.lease.valid) this.heartbeat.beat();
    this.step('primary-released');
  }

  private release(): void {
    if (this.releasable > 0) for (const output of this.outputs) output.release(this.releasable);
  }

  private async untilDue(): Promise<void> {
    const { clock, lifecycle, options } = this.parts;
    for (;;) {
      const left = this.lastEndMs + options.checkpointDelayMs - clock.nowMs();
      if (
        left <= 0 ||
        this.checkpointWanted ||
        lifecycle.shutdownRequested ||
        lifecycle.failure !== undefined
      )
        return;
      const woken = new Promise<void>(resolve => {
        const timer = clock.timer(left, resolve);
        this.wake = () => {
          timer.dispose();
          resolve();
        };
      });
      await this.link.guard(woken, 'waiting for the next checkpoint').finally(() => this.wake());
    }
  }

  /**
   * The last checkpoint is whole: nothing of the guest is left that the other side does not hold.
   */
  private async shutdownTogether(): Promise<void> {
    const { clock, lifecycle, migration, options } = this.parts;
    if (!this.failover.move('guest-shutdown')) throw new VmError('a failover came first');
    await this.link.send({ type: 'guest-shutdown' }).catch(() => undefined);
    await within(clock, options.replyTimeoutMs, 'guest-shutdown', this.link.gone()).catch(
      () => undefined,
    );
    this.quiet();
    this.link.destroy();
    await this.stopDisks(false);
    await this.tryRecord('together');
    if (!this.gateShut) for (const output of this.outputs) output.releaseAll();
    migration.move('completed');
    lifecycle.finishShutdown();
  }

  protected override onUrgent(message: Message): boolean {
    switch (message.type) {
      case 'pong':
        this.note('got', message);
        this.proved(message.seq);
        return true;
      case 'stop-request':
        this.note('got', message);
        if (!this.failover.move('peer-alone')) {
          // It takes over in spite of the guest's shutdown: what is still held must not leave
          // beside it.
          if (this.state === 'ended') this.closeGate();
          return true;
        }
        this.closeGate();
        this.yielding = this.yieldToPeer().catch(thrown => this.warn(lastFailure(thrown)));
        return true;
      case 'alone-noted':
        this.note('got', message);
        this.tellNoted();
        return true;
      case 'leaving':
        this.note('got', message);
        this.peerLeaves(`the secondary has left: ${message.text}`);
        return true;
      default:
        return false;
    }
  }

  private proved(seq: number): void {
    const askedAt = this.heartbeat.answered(seq);
    if (askedAt) this.lease.prove(askedAt);
    this.release();
  }

  /** Its guest will never run, by its own word: nobody need be asked. */
  private peerLeaves(why: string): void {
    this.tellNoted();
    if (this.failover.move('peer-left')) this.proceed(this.goOnAlone(why));
    else this.link.fail(new VmError(why));
  }

  /** From here on nothing of this guest leaves, at once and for good. */
  private closeGate(why = 'the secondary takes over'): void {
    this.gateShut = true;
    this.quiet();
    for (const output of this.outputs) output.drop();
    this.link.fail(new VmError(why));
    this.step('primary-gate-closed');
  }

  private quiet(): void {
    this.lease.end();
    this.heartbeat.stop();
  }

  private async yieldToPeer(): Promise<void> {
    const { lifecycle, migration } = this.parts;
    await this.conversation;
    await lifecycle.haltForPeer().catch(thrown => this.warn(failureOf(thrown)));
    this.link.post({ type: 'stopped' });
    lifecycle.ram.dirtyLog.stop();
    await this.stopDisks(false);
    await this.tryRecord('yielded');
    await this.link.farewell();
    if (migration.status === 'colo') migration.move('completed');
    this.tellExit('error', 'the secondary has taken over');
  }

  /**
   * By x-colo-lost-heartbeat, or because the secondary left: replication ends, what was held
   * leaves, the guest goes on unprotected.
   */
  private async goOnAlone(left?: string): Promise<void> {
    const { lifecycle, migration } = this.parts;
    this.failover.move('begin');
    this.quiet();
    const heard = left === undefined ? this.peerHeard() : Promise.resolve(undefined);
    this.link.fail(new VmError(left ?? 'failover was requested'));
    this.wake();
    await this.conversation;
    await this.stopDisks(true);
    this.step('primary-disks-stopped');
    lifecycle.ram.dirtyLog.stop();
    const problem = (await heard) ?? (await this.goOnAsNext().then(() => undefined, failureOf));
    if (problem) return this.stayLost(problem);
    this.step('primary-recorded');
    for (const output of this.outputs) output.releaseAll();
    this.failover.move('done');
    migration.move('completed');
    if (left === undefined) this.tellExit('request');
    else this.tellExit('error', `${left}; this guest goes on without protection`, { again: true });
    this.step('primary-alone');
    if (lifecycle.shutdownRequested) lifecycle.finishShutdown();
    await this.link.farewell();
  }

  /**
   * The secondary says that it has heard. Where no answer can come, the order stands alone; a
   * silent one is waited for as long as its own takeover would wait. One that closes without an
   * answer may have taken over just then: gives the problem.
   */
  private peerHeard(): Promise<VmError | undefined> {
    const { clock, options } = this.parts;
    if (!this.link.listening) return Promise.resolve(undefined);
    this.link.post({ type: 'going-alone' });
    const waitMs = Math.max(options.stopTimeoutMs, leaseEndMs(options));
    const settled = Promise.race([this.noted, sleep(clock, waitMs)]).then(() => undefined);
    const gone = this.link
      .gone()
      .then(
        () =>
          new VmError(
            'the secondary closed the connection without an answer, and may have taken over',
            { hint: 'x_colo_lost_heartbeat again if it is surely dead' },
          ),
      );
    return Promise.race([settled, gone]);
  }

  /** Nothing has left yet, and the order may be given again. */
  private stayLost({ message, options: { hint } }: VmError): void {
    this.failover.move('failed');
    const text =
      `this guest does not go on alone: ${message}: ` +
      `${hint ?? 'mend that, and x_colo_lost_heartbeat again'}`;
    this.parts.report(text);
    this.tellExit('error', text, { again: true });
  }

  override async depart(why: string): Promise<void> {
    if (!this.failover.move('leave')) return;
    this.closeGate(why);
    this.link.post({ type: 'ended', text: why });
    await this.link.farewell();
  }

  protected override async leave(error: VmError): Promise<void> {
    const { lifecycle, migration } = this.parts;
    const entering = this.state === 'entering';
    if (!this.failover.move('error')) return;
    // The gate closes before the connection does: a secondary that sees our end closed need not
    // wait for the lease.
    this.quiet();
    this.link.post({ type: 'error', text: error.message });
    this.link.fail(error);
    // As long as it can be understood the connection stays: whoever is told to go on alone must be
    // able to say so to the other.
    if (entering || !this.link.listening) void this.link.farewell();
    lifecycle.ram.dirtyLog.stop();
    if (!entering) this.tellExit('error', error.message);
    // Nothing will be committed any more: a guest's write must not wait for it.
    await this.stopDisks(false);
    if (!entering) return;
    if (this.agreed) await this.tryRecord('alone');
    for (const output of this.outputs) output.releaseAll();
    if (migration.status === 'colo') this.tellExit('error', error.message);
    // What the connection did not do is a refusal, of this side or the other: it stays one.
    const { failed } = this.link;
    const lasting = failed === error || failed instanceof Refusal ? error instanceof Refusal : true;
    migration.move(
      migration.status === 'cancelling' ? 'cancelled' : 'failed',
      error.message,
      lasting,
    );
    if (lifecycle.shutdownRequested) lifecycle.finishShutdown();
  }

  private async stopDisks(failover: boolean): Promise<void> {
    const { clock, options } = this.parts;
    const wait = (_what: string, stopped: Promise<void>) =>
      within(clock, options.diskTimeoutMs, 'ending replication', stopped);
    const error = await stopAll(this.disks, failover, wait);
    if (error) this.warn(error);
  }
}
