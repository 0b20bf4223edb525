/**
 * The secondary's side: refuses a machine that differs, takes precopy, then epoch after epoch: all
 * of one is here and checked before vmstate-received, and after it there is only forward. Its guest
 * does not run until a failover.
 */
import { VmError, failureOf, lastFailure } from '../base/errors.js';
import type { SecondaryDisk } from '../block/contract/replicated.js';
import type { PairRecord } from '../block/record/pair-record.js';
import { ioCode } from '../block/contract/io-error.js';
import type { Stream } from '../host/ports.js';
import { unexpected } from '../migration/link.js';
import { manifestDifference } from '../migration/manifest.js';
import { within } from '../migration/wait.js';
import { applyEpoch } from './apply-epoch.js';
import { type ArrivalContext, type WholeEpoch, takeEpoch, takePrecopy } from './arrival.js';
import { type ColoPorts, requireProcess } from './contract.js';
import { DiskSync } from './disk-sync.js';
import { startAll, stopAll } from './disks.js';
import { pairState, secondaryTable } from './failover.js';
import { fence } from './fence.js';
import { SecondaryHeartbeat } from './heartbeat.js';
import { adoptAll, withBitmaps } from './intents.js';
import type { Message } from './messages.js';
import { Outcome } from './outcome.js';
import { permission } from './record.js';
import { sayTaken, sayWho } from './say-who.js';
import { seated } from './seated.js';
import { Session } from './session.js';

/** What a session may ask before its peer is admitted: nothing of that peer is trusted yet. */
export interface Door {
  /** This process has taken over: its guest is what the stranger's was. */
  readonly taken: boolean;
  /** The machine at the other end is equal to ours. A VmError sends it away. */
  admit(): void;
}

export class ColoSecondary extends Session {
  private readonly heartbeat: SecondaryHeartbeat;
  private epoch = 0;
  private leaseMs: number;
  protected disks: SecondaryDisk[] = [];
  private accepted = false;
  /** The record says that a whole state is here. */
  private recorded = false;
  private fenced = false;
  /** The primary hands its guest over. */
  private given: { run: boolean } | undefined;
  /** It has asked to leave, and a user waits for it. */
  private parting: Outcome | undefined;
  private peerIsAlone = false;
  /** The guest that is here has shut down. */
  private guestOver = false;
  /** Called when the work that a loaded epoch would still need is not needed any more. */
  private hurry!: () => void;
  private readonly hurried = new Promise<void>(resolve => (this.hurry = resolve));
  private tellStopped!: () => void;
  private tellAlone!: () => void;
  private readonly stopped = new Promise<void>(resolve => (this.tellStopped = resolve));
  private readonly peerAlone = new Promise<void>(resolve => (this.tellAlone = resolve));

  constructor(
    ports: ColoPorts,
    stream: Stream,
    private readonly door: Door,
  ) {
    super(ports, 'secondary', secondaryTable, stream);
    this.leaseMs = ports.options.leaseMs;
    const { clock, options } = ports;
    this.heartbeat = new SecondaryHeartbeat(this.link, clock, options, line => ports.report(line));
    this.failover.move('enter');
  }

  override lostHeartbeat(): void {
    this.requireFailover();
    // RAM and devices of an epoch that is loaded come first; its overlays need not.
    if (this.state === 'require') this.proceed(this.takeOver());
    else this.hurry();
  }

  protected async converse(): Promise<void> {
    await this.meet();
    this.diskSync = new DiskSync(this.disks);
    const { record, point } = await takePrecopy(this.arrival, this.diskSync);
    const { migration, options, identity } = this.ports;
    if (!record) throw new VmError('the primary did not say which record the pair has');
    const recorded = identity.follow(record, 'secondary', 'copying');
    await this.link.guard(recorded, 'writing the record of the pair', options.diskTimeoutMs);
    await this.adopt(record, point);
    await this.link.guard(
      startAll(this.disks, 'secondary'),
      'starting replication',
      options.diskTimeoutMs,
    );
    migration.move('colo');
    await this.link.send({ type: 'checkpoint-ready' });
    while (await this.takeRequest());
  }

  /** Without bitmaps the pair is as good. */
  private async adopt(record: PairRecord, point: string | undefined): Promise<void> {
    if (point === undefined) return;
    const adopted = adoptAll(this.disks, record, point, line => this.ports.report(line));
    await this.link.guard(adopted, 'the bitmaps', this.ports.options.diskTimeoutMs);
  }

  private get arrival(): ArrivalContext {
    const { ports, link, disks, heartbeat } = this;
    return { ports, link, disks, excuse: ms => heartbeat.excuse(ms) };
  }

  private async meet(): Promise<void> {
    const { migration, options, identity } = this.ports;
    const first = await this.link.next('waiting for hello', options.replyTimeoutMs);
    const who = { taken: this.door.taken, link: this.link, identity };
    if (first.type === 'who-runs') await sayWho(who);
    if (first.type !== 'hello') throw unexpected(first.type, 'hello');
    const { hello } = first;
    if (!hello.colo)
      throw new VmError(
        'this side is a secondary and waits for a primary: the capability x-colo is off on ' +
          'the other side',
      );
    if (this.door.taken) await sayTaken(who);
    const difference = manifestDifference(hello.manifest, await seated(this.ports));
    if (difference !== undefined) throw new VmError(difference);
    const disks = identity.standings();
    for (const { disk, record } of disks) permission(disk, hello.record, record, hello.syncFrom);
    this.leaseMs = hello.leaseMs;
    this.disks = this.ports.disks.secondary();
    const holds = this.ports.outputHolds();
    this.door.admit();
    // Not before: one who is sent away leaves the hold of the session that there is alone.
    this.outputHolds = holds;
    // The guest is not here: an announcement that a user asks for would call its traffic here.
    for (const hold of holds) hold.hold(() => false);
    this.accepted = true;
    for (const disk of this.disks) disk.claim();
    migration.move('active');
    migration.ramTotalBytes = hello.manifest.ramBytes;
    this.heartbeat.start();
    if (hello.packs) await this.link.send({ type: 'takes-packed' });
    await this.link.send({ type: 'accept', disks: withBitmaps(disks, this.disks) });
  }

  /** False: the conversation is over. */
  private async takeRequest(): Promise<boolean> {
    const message = await this.link.next('waiting for checkpoint-request');
    if (message.type === 'guest-shutdown' && this.failover.move('guest-shutdown')) {
      await this.shutdownTogether();
      return false;
    }
    if (message.type === 'hand-over' && this.failover.move('hand-over')) {
      this.beGiven(message);
      return false;
    }
    if (message.type !== 'checkpoint-request') throw unexpected(message.type, 'checkpoint-request');
    await this.link.send({ type: 'checkpoint-reply' });
    const whole = await takeEpoch(this.arrival, this.epoch);
    if (!whole) return true;
    if (this.spoiled) throw this.spoiled;
    // Decided: written or not, read or not, from here on there is only forward.
    if (!this.failover.move('received')) throw new VmError('a failover came first');
    this.heartbeat.grant();
    this.link.post({ type: 'vmstate-received' });
    return this.load(whole);
  }

  /** A planned swap: the primary stands still, its output is shut. An arbiter is asked first. */
  private beGiven({ run }: { run: boolean }): void {
    this.heartbeat.silence();
    this.given = { run };
    this.peerLeft = true;
    if (!this.arbitration) this.lostHeartbeat();
  }

  /**
   * After vmstate-received: RAM, in slices, and devices; then the overlays, however long that
   * takes.
   */
  private async load(whole: WholeEpoch): Promise<boolean> {
    const { epoch } = whole.info;
    try {
      await applyEpoch(whole, this.ports, () => this.loading);
    } catch (thrown) {
      return this.breakDown(lastFailure(thrown).during(`loading epoch ${epoch}`));
    }
    if (!this.loading) return false; // its process ends
    const stuck = await this.emptyOverlays();
    if (stuck) return this.breakDown(stuck);
    this.epoch = epoch;
    this.guestOver = whole.info.guestOver;
    this.step('secondary-committed');
    this.failover.move('loaded');
    this.wholeMs = this.ports.clock.nowMs();
    if (this.peerIsAlone && this.failover.move('peer-alone')) {
      await this.giveWay();
      return false;
    }
    if (this.state === 'require') {
      this.proceed(this.takeOver());
      return false;
    }
    this.link.post({ type: 'vmstate-loaded' });
    void this.recordWhole();
    return true;
  }

  private get loading(): boolean {
    return this.state === 'loading' || this.state === 'relaunch';
  }

  /** Tried again with each epoch until it is written. */
  private async recordWhole(): Promise<void> {
    if (this.recorded) return;
    this.recorded = true;
    this.recorded = await this.tryRecord('protected');
  }

  /**
   * On every disk undo data is void from here on: the epoch has all of its RAM. A disk that is slow
   * or full is waited for, since only an empty overlay can undo the next epoch; a failover needs
   * none.
   */
  private async emptyOverlays(): Promise<VmError | undefined> {
    const { clock, options } = this.ports;
    const deadline = clock.nowMs() + options.diskTimeoutMs;
    // The primary's output waits for this. Room can be made; a disk that is broken stays so, and
    // after a while the primary does better alone.
    const inVain = (failure: VmError) =>
      ioCode(failure) !== 'ENOSPC' && clock.nowMs() > deadline && !this.link.failed;
    const wanted = (failure: VmError) => this.state === 'loading' && !inVain(failure);
    const stuck: string[] = [];
    const emptied = this.disks.map(async disk => {
      const went = await this.patience.retry(
        `disk '${disk.name}'`,
        () => disk.checkpoint(),
        wanted,
      );
      if (went) this.step('secondary-disk-committed');
      else if (this.state === 'loading') stuck.push(disk.name);
    });
    const all = Promise.all(emptied).then(() => undefined);
    // Ours is the mistake then: this epoch is whole for a failover, and none can follow it.
    await Promise.race([all, this.hurried]).catch(thrown => this.link.fail(lastFailure(thrown)));
    if (stuck.length === 0) return undefined;
    const seconds = options.diskTimeoutMs / 1000;
    return new VmError(`the overlays of disk '${stuck[0]}' cannot be emptied for ${seconds} s`);
  }

  /**
   * This side's state is not whole: it can never take over, and the primary need not wait for a
   * person to hear that.
   */
  private breakDown(error: VmError): false {
    this.failover.move('failed');
    this.giveUp(error);
    void this.link.farewell();
    if (this.ports.migration.status === 'colo') this.ports.migration.move('failed', error.message);
    this.tellExit('error', error.message);
    return false;
  }

  /** Sends the last message: this guest never runs here. The state has recorded it already. */
  private giveUp(error: VmError): void {
    this.heartbeat.silence();
    this.hurry();
    this.link.post({ type: 'leaving', text: error.message });
    this.link.fail(error);
  }

  /**
   * Where an arbiter decides, this side keeps its right until the record says that it has none: the
   * primary may be lost just then.
   */
  override async leavePair(): Promise<void> {
    const { clock, options } = this.ports;
    if (this.state !== 'protected' && this.state !== 'loading')
      throw new VmError(`this side follows no primary (${pairState(this.state)})`);
    if (this.parting) throw new VmError('this side is leaving already');
    const parting = (this.parting = new Outcome());
    if (!this.arbitration) return this.depart('it was told to leave');
    this.link.post({ type: 'leave-request' });
    const answer = within(clock, options.replyTimeoutMs, 'the primary', parting.settled);
    await answer.catch(error => {
      this.parting = undefined;
      throw failureOf(error);
    });
  }

  override get hasLeft(): boolean {
    return this.parting !== undefined;
  }

  override async depart(why: string): Promise<void> {
    if (!this.accepted) return;
    const error = new VmError(why);
    if (this.failover.move('leave')) this.giveUp(error);
    else if (this.state !== 'entering') return;
    this.why = why;
    if (this.state === 'entering') this.link.post({ type: 'error', text: why });
    this.link.fail(error);
    await this.link.farewell();
  }

  protected override onUrgent(message: Message): boolean {
    switch (message.type) {
      case 'ping':
        this.note('got', message);
        this.heartbeat.answer(message.seq);
        return true;
      case 'heartbeat-key':
      case 'heartbeat-interval':
        this.note('got', message);
        this.heartbeat.hear(message);
        return true;
      case 'process':
        this.note('got', message);
        if (this.accepted) void this.link.heldBy(message.holder);
        return true;
      case 'stopped':
        this.note('got', message);
        this.tellStopped();
        return true;
      case 'ended':
        this.note('got', message);
        this.tellStopped();
        this.link.fail(
          new VmError(`the primary was ended on purpose, and the guest with it: ${message.text}`),
        );
        return true;
      case 'dropped':
        this.note('got', message);
        this.dropped(message.text);
        return true;
      case 'leave-refused':
        this.note('got', message);
        this.parting?.fail(new VmError(message.text));
        return true;
      case 'going-alone':
        this.note('got', message);
        this.link.post({ type: 'alone-noted' });
        this.peerIsAlone = true;
        this.tellAlone();
        this.hurry();
        this.link.fail(new VmError('the primary goes on alone'));
        if (['lost', 'handing-over'].includes(this.state)) this.concede();
        return true;
      default:
        return false;
    }
  }

  /**
   * x-colo-lost-heartbeat on the secondary (rule 8). The conversation ends first: an epoch that was
   * not whole is forgotten with it.
   */
  private async takeOver(): Promise<void> {
    const { lifecycle, migration } = this.ports;
    this.failover.move('begin');
    if (this.fenced) this.why = undefined; // what was in the way may be mended
    try {
      if (!(await this.fenceOff())) return await this.giveWay();
      await this.makeWhole();
      requireProcess(this.ports.lifecycle);
    } catch (thrown) {
      return this.leaveUnfinished(lastFailure(thrown));
    }
    for (const hold of this.outputHolds) hold.releaseAll();
    this.step('takeover-network-open');
    if (this.guestOver) lifecycle.finishShutdown();
    else lifecycle.goOnAfterFailover(this.given ?? { run: true });
    this.failover.move('done');
    migration.move('completed');
    this.tellExit('request');
    this.step('takeover-running');
  }

  /** False: the primary continues to run the guest. */
  private async fenceOff(): Promise<boolean> {
    if (this.fenced) return true;
    const { clock, options } = this.ports;
    this.heartbeat.silence();
    this.link.fail(new VmError('failover was requested'));
    const { leaseMarginMs, stopTimeoutMs } = options;
    const times = { leaseMs: this.leaseMs, leaseMarginMs, stopTimeoutMs };
    const result = await fence(this.link, clock, times, {
      stopped: this.stopped,
      peerAlone: this.peerAlone,
      peerLeft: this.peerLeft,
      // A primary that hands its guest over answers, and its user waits for that.
      decided: this.decided && !this.given,
      lastGrantMs: this.heartbeat.lastGrantMs,
    });
    if (result === 'peer-alone') {
      this.failover.move('peer-alone');
      return false;
    }
    this.fenced = true;
    this.link.destroy();
    await this.conversation;
    this.step('takeover-fenced');
    return true;
  }

  /** A merge takes as long as it takes: what it works on is the last copy of the guest. */
  private async makeWhole(): Promise<void> {
    const { clock, options } = this.ports;
    await within(
      clock,
      options.diskTimeoutMs,
      'dropping the export',
      this.ports.dropExports(),
    ).catch(thrown => this.warn(failureOf(thrown)));
    this.step('takeover-exports-dropped');
    const wait = (what: string, merged: Promise<void>) =>
      this.patience.until(`${what} to be merged`, merged);
    const error = await stopAll(this.disks, true, wait, () => this.step('takeover-disk-merged'));
    if (error) throw error;
    await this.goOnAsNext();
    this.step('takeover-recorded');
  }

  /**
   * RAM, devices and undo data are as whole as they were: what was in the way can be mended, and
   * the takeover ordered again.
   */
  private leaveUnfinished(error: VmError): void {
    this.failover.move('failed');
    const advice = '; what is here is kept: mend that, and x_colo_lost_heartbeat tries again';
    const again = error === this.ports.lifecycle.ending ? '' : advice;
    const text = `the takeover is not finished: ${error.message}${again}`;
    this.ports.report(text);
    this.tellExit('error', text, { again: true });
  }

  override concede(): void {
    if (this.failover.move('peer-alone')) this.proceed(this.giveWay());
  }

  private dropped(text: string): void {
    // Where this side has bid, it may be the owner already: the arbiter's answer decides.
    if (!['protected', 'loading'].includes(this.state) || !this.failover.move('leave')) return;
    const error = new VmError(`the primary goes on without this secondary: ${text}`);
    this.giveUp(error);
    this.proceed(this.giveWay(error.message));
  }

  /** The primary was told to go on alone: what is here is history. */
  private async giveWay(why = 'the primary goes on alone'): Promise<void> {
    const { migration } = this.ports;
    this.heartbeat.silence();
    // What it waits for may still be on its way: the connection ends in order.
    void this.link.farewell();
    for (const hold of this.outputHolds) hold.drop();
    await this.stopDisks(false);
    if (migration.status === 'colo') migration.move('failed', why);
    this.tellExit('error', why);
    this.parting?.done();
  }

  private async shutdownTogether(): Promise<void> {
    const { lifecycle, migration } = this.ports;
    this.heartbeat.silence();
    for (const hold of this.outputHolds) hold.drop();
    await this.stopDisks(false);
    await this.tryRecord('together');
    this.link.destroy();
    migration.move('completed');
    lifecycle.finishShutdown();
  }

  protected override async leave(error: VmError): Promise<void> {
    const { migration } = this.ports;
    if (this.peerIsAlone && this.state === 'protected' && this.failover.move('peer-alone'))
      return this.giveWay();
    const entering = this.state === 'entering';
    if (!this.failover.move('error')) return;
    this.parting?.fail(error);
    this.heartbeat.silence();
    this.link.post({ type: 'error', text: error.message });
    // A side that holds a whole state keeps the connection: its end tells that the primary is gone.
    if (!entering) return this.tellExit('error', error.message);
    this.link.fail(error);
    void this.link.farewell();
    for (const hold of this.outputHolds) hold.releaseAll();
    // The disks of a stranger are another session's.
    if (!this.accepted) return;
    await this.stopDisks(false);
    if (migration.status === 'colo') this.tellExit('error', error.message);
    migration.move('failed', error.message);
  }
}
