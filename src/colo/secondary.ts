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
import { Turns } from '../migration/turns.js';
import { within } from '../migration/wait.js';
import { type ArrivalWiring, type WholeEpoch, takeEpoch, takePrecopy } from './arrival.js';
import { type ColoParts, requireProcess } from './contract.js';
import { DiskSync } from './disk-sync.js';
import { startAll, stopAll } from './disks.js';
import { secondaryTable } from './failover.js';
import { fence } from './fence.js';
import { SecondaryHeartbeat } from './heartbeat.js';
import type { Message } from './messages.js';
import { permission } from './record.js';
import { Session } from './session.js';

/** Before it is admitted, whoever comes is a stranger. */
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
  private disks: SecondaryDisk[] = [];
  private accepted = false;
  /** What the record of the pair will be. */
  private branch: PairRecord | undefined;
  /** The record says that a whole state is here. */
  private recorded = false;
  private fenced = false;
  private peerIsAlone = false;
  /** Whatever is still to be done for a loaded epoch need not be done. */
  private hurry!: () => void;
  private readonly hurried = new Promise<void>(resolve => (this.hurry = resolve));
  private tellStopped!: () => void;
  private tellAlone!: () => void;
  private readonly stopped = new Promise<void>(resolve => (this.tellStopped = resolve));
  private readonly peerAlone = new Promise<void>(resolve => (this.tellAlone = resolve));

  constructor(
    parts: ColoParts,
    stream: Stream,
    private readonly door: Door,
  ) {
    super(parts, 'secondary', secondaryTable, stream);
    this.leaseMs = parts.options.leaseMs;
    this.heartbeat = new SecondaryHeartbeat(this.link, parts.clock, parts.options);
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
    this.branch = await takePrecopy(this.arrival, this.diskSync);
    const { migration, options, identity } = this.parts;
    if (!this.branch) throw new VmError('the primary did not say which record the pair has');
    const recorded = identity.follow(this.branch, 'secondary', 'copying');
    await this.link.guard(recorded, 'writing the record of the pair', options.diskTimeoutMs);
    await this.link.guard(
      startAll(this.disks, 'secondary'),
      'starting replication',
      options.diskTimeoutMs,
    );
    migration.move('colo');
    await this.link.send({ type: 'checkpoint-ready' });
    while (await this.takeRequest());
  }

  private get arrival(): ArrivalWiring {
    const { parts, link, disks, heartbeat } = this;
    return { parts, link, disks, excuse: ms => heartbeat.excuse(ms) };
  }

  private async meet(): Promise<void> {
    const { lifecycle, migration, options } = this.parts;
    const first = await this.link.next('waiting for hello', options.replyTimeoutMs);
    if (first.type === 'who-runs') await this.sayWho();
    if (first.type !== 'hello') throw unexpected(first.type, 'hello');
    const { hello } = first;
    if (!hello.colo)
      throw new VmError(
        'this side is a secondary and waits for a primary: the capability x-colo is off on ' +
          'the other side',
      );
    if (this.door.taken) await this.sayTaken();
    const difference = manifestDifference(hello.manifest, lifecycle.manifest());
    if (difference !== undefined) throw new VmError(difference);
    const disks = this.parts.identity.standings();
    for (const { disk, record } of disks) permission(disk, hello.record, record, hello.syncFrom);
    this.leaseMs = hello.leaseMs;
    this.disks = this.parts.disks.secondary();
    const outputs = this.parts.outputs();
    this.door.admit();
    // Not before: one who is sent away leaves the hold of the session that there is alone.
    this.outputs = outputs;
    // The guest is not here: an announcement that a user asks for would call its traffic here.
    for (const output of outputs) output.hold(() => false);
    this.accepted = true;
    for (const disk of this.disks) disk.claim();
    migration.move('active');
    migration.ramTotalBytes = hello.manifest.ramBytes;
    this.heartbeat.start();
    await this.link.send({ type: 'accept', disks });
  }

  /** A primary that was started again must not run: it hears who does. */
  private async sayTaken(): Promise<never> {
    await this.link.send({ type: 'superseded', record: this.parts.identity.record });
    await this.link.farewell();
    throw new VmError('this secondary has taken over');
  }

  private async sayWho(): Promise<never> {
    if (this.door.taken) return this.sayTaken();
    await this.link.send({ type: 'follows' });
    await this.link.farewell();
    throw new VmError('nothing more was asked');
  }

  /** False: the conversation is over. */
  private async takeRequest(): Promise<boolean> {
    const message = await this.link.next('waiting for checkpoint-request');
    if (message.type === 'guest-shutdown' && this.failover.move('guest-shutdown')) {
      await this.shutdownTogether();
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

  /**
   * After vmstate-received: RAM, in slices, and devices; then the overlays, however long that
   * takes.
   */
  private async load(whole: WholeEpoch): Promise<boolean> {
    const { epoch } = whole.info;
    try {
      await this.apply(whole);
    } catch (thrown) {
      return this.breakDown(lastFailure(thrown).during(`loading epoch ${epoch}`));
    }
    if (!this.loading) return false; // its process ends
    const stuck = await this.emptyOverlays();
    if (stuck) return this.breakDown(stuck);
    this.epoch = epoch;
    this.step('secondary-committed');
    this.failover.move('loaded');
    this.wholeMs = this.parts.clock.nowMs();
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
   * A failure here means that neither the old nor the new state is whole: all that can be checked
   * has been.
   */
  private async apply({ info, ram, devices }: WholeEpoch): Promise<void> {
    const { clock, lifecycle, options } = this.parts;
    const turns = new Turns(clock, options.turnBytes);
    await ram.apply(turns, () => this.step('secondary-half-applied'));
    if (!this.loading) return;
    this.step('secondary-ram-applied');
    devices.apply();
    this.step('secondary-devices-applied');
    if (!info.ramHashed || !options.verifyRam || lifecycle.ram.hash() === info.ramHash) return;
    throw new VmError(`RAM differs from the primary's after epoch ${info.epoch}`);
  }

  /**
   * On every disk undo data is void from here on: the epoch has all of its RAM. A disk that is slow
   * or full is waited for, since only an empty overlay can undo the next epoch; a failover needs
   * none.
   */
  private async emptyOverlays(): Promise<VmError | undefined> {
    const { clock, options } = this.parts;
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
    if (this.parts.migration.status === 'colo') this.parts.migration.move('failed', error.message);
    this.tellExit('error', error.message);
    return false;
  }

  /** The last words: what is here never runs. The state says so already. */
  private giveUp(error: VmError): void {
    this.heartbeat.silence();
    this.hurry();
    this.link.post({ type: 'leaving', text: error.message });
    this.link.fail(error);
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
      case 'going-alone':
        this.note('got', message);
        this.link.post({ type: 'alone-noted' });
        this.peerIsAlone = true;
        this.tellAlone();
        this.hurry();
        this.link.fail(new VmError('the primary goes on alone'));
        if (this.state === 'lost' && this.failover.move('peer-alone')) this.proceed(this.giveWay());
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
    const { lifecycle, migration } = this.parts;
    this.failover.move('begin');
    if (this.fenced) this.why = undefined; // what was in the way may be mended
    try {
      if (!(await this.fenceOff())) return await this.giveWay();
      await this.makeWhole();
      requireProcess(this.parts.lifecycle);
    } catch (thrown) {
      return this.leaveUnfinished(lastFailure(thrown));
    }
    for (const output of this.outputs) output.releaseAll();
    this.step('takeover-network-open');
    lifecycle.runAfterFailover();
    this.failover.move('done');
    migration.move('completed');
    this.tellExit('request');
    this.step('takeover-running');
  }

  /** False: the primary goes on. */
  private async fenceOff(): Promise<boolean> {
    if (this.fenced) return true;
    const { clock, options } = this.parts;
    this.heartbeat.silence();
    this.link.fail(new VmError('failover was requested'));
    const times = {
      leaseMs: this.leaseMs,
      leaseMarginMs: options.leaseMarginMs,
      stopTimeoutMs: options.stopTimeoutMs,
    };
    const result = await fence(this.link, clock, times, {
      stopped: this.stopped,
      peerAlone: this.peerAlone,
      peerLeft: this.peerLeft,
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
    const { clock, options } = this.parts;
    await within(
      clock,
      options.diskTimeoutMs,
      'dropping the export',
      this.parts.dropExports(),
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
    const again = error === this.parts.lifecycle.ending ? '' : advice;
    const text = `the takeover is not finished: ${error.message}${again}`;
    this.parts.report(text);
    this.tellExit('error', text, { again: true });
  }

  /** The primary was told to go on alone: what is here is history. */
  private async giveWay(): Promise<void> {
    const { migration } = this.parts;
    this.heartbeat.silence();
    // What it waits for may still be on its way: the connection ends in order.
    void this.link.farewell();
    for (const output of this.outputs) output.drop();
    await this.stopDisks();
    if (migration.status === 'colo') migration.move('failed', 'the primary goes on alone');
    this.tellExit('error', 'the primary goes on alone');
  }

  private async shutdownTogether(): Promise<void> {
    const { lifecycle, migration } = this.parts;
    this.heartbeat.silence();
    for (const output of this.outputs) output.drop();
    await this.stopDisks();
    await this.tryRecord('together');
    this.link.destroy();
    migration.move('completed');
    lifecycle.finishShutdown();
  }

  protected override async leave(error: VmError): Promise<void> {
    const { migration } = this.parts;
    if (this.peerIsAlone && this.state === 'protected' && this.failover.move('peer-alone'))
      return this.giveWay();
    const entering = this.state === 'entering';
    if (!this.failover.move('error')) return;
    this.heartbeat.silence();
    this.link.post({ type: 'error', text: error.message });
    // A side that holds a whole state keeps the connection: its end tells that the primary is gone.
    if (!entering) return this.tellExit('error', error.message);
    this.link.fail(error);
    void this.link.farewell();
    for (const output of this.outputs) output.releaseAll();
    // The disks of a stranger are another session's.
    if (!this.accepted) return;
    await this.stopDisks();
    if (migration.status === 'colo') this.tellExit('error', error.message);
    migration.move('failed', error.message);
  }

  /** The images go back to the last checkpoint. */
  private async stopDisks(): Promise<void> {
    const { clock, options } = this.parts;
    const wait = (_what: string, stopped: Promise<void>) =>
      within(clock, options.diskTimeoutMs, 'ending replication', stopped);
    const error = await stopAll(this.disks, false, wait);
    if (error) this.warn(error);
  }
}
