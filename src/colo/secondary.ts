/**
 * The secondary's side: refuses a machine that differs, takes precopy, then epoch after epoch: all of one is here and checked before
 * vmstate-received, and after it there is only forward. Its guest does not run until a failover.
 */
import { VmError, failureOf } from '../base/errors.js';
import type { PairRecord } from '../block/pair-record.js';
import type { Stream } from '../host/ports.js';
import { unexpected } from '../migration/link.js';
import { manifestDifference } from '../migration/manifest.js';
import { receivePieces } from '../migration/messages.js';
import { applyChunk, decodeChunk } from '../migration/pages.js';
import { within } from '../migration/wait.js';
import type { ColoParts, StagedDevices } from './contract.js';
import { DiskSync } from './disk-sync.js';
import { progressOf, sendDigest, startAll, stopAll } from './disks.js';
import { secondaryTable } from './failover.js';
import { fence } from './fence.js';
import { SecondaryHeartbeat } from './heartbeat.js';
import type { EpochInfo, Message } from './messages.js';
import { permission } from './record.js';
import { Session } from './session.js';
import { StagedEpoch } from './staged-epoch.js';
import { trace } from './trace.js';

/** An epoch that may be loaded. */
interface WholeEpoch {
  info: EpochInfo;
  ram: StagedEpoch;
  devices: StagedDevices;
}

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
  private accepted = false;
  /** What the record of the pair will be. */
  private branch: PairRecord | undefined;
  /** The record says that a whole state is here. */
  private recorded = false;
  private peerIsAlone = false;
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
    // While an epoch is loaded the request waits for its end.
    if (this.state === 'require') this.procedure = this.takeOver();
  }

  protected async converse(): Promise<void> {
    await this.meet();
    this.diskSync = new DiskSync(this.disks);
    await this.takePrecopy(this.diskSync);
    const { migration, options, identity } = this.parts;
    if (!this.branch) throw new VmError('the primary did not say which record the pair has');
    const recorded = identity.follow(this.branch, 'secondary', 'copying');
    await this.link.guard(recorded, 'writing the record of the pair', options.diskTimeoutMs);
    await this.link.guard(startAll(this.disks, 'secondary'), 'starting replication', options.diskTimeoutMs);
    for (const output of this.outputs) output.hold(() => false);
    migration.move('colo');
    await this.link.send({ type: 'checkpoint-ready' });
    while (await this.takeRequest());
  }

  private async meet(): Promise<void> {
    const { lifecycle, migration, options } = this.parts;
    const first = await this.link.next('waiting for hello', options.replyTimeoutMs);
    if (first.type === 'who-runs') await this.sayWho();
    if (first.type !== 'hello') throw unexpected(first.type, 'hello');
    const { hello } = first;
    if (!hello.colo) throw new VmError('this side is a secondary and waits for a primary: the capability x-colo is off on the other side');
    if (this.door.taken) await this.sayTaken();
    const difference = manifestDifference(hello.manifest, lifecycle.manifest());
    if (difference !== undefined) throw new VmError(difference);
    const disks = this.parts.identity.standings();
    for (const { disk, record } of disks) permission(disk, hello.record, record, hello.syncFrom);
    this.leaseMs = hello.leaseMs;
    this.disks = this.parts.disks('secondary');
    const outputs = this.parts.outputs();
    this.door.admit();
    // Not before: one who is sent away leaves the hold of the session that there is alone.
    this.outputs = outputs;
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

  /** Pages go straight to RAM: there is no earlier state that they could spoil, and no failover before the first epoch. */
  private async takePrecopy(sync: DiskSync): Promise<void> {
    const { lifecycle, migration, options } = this.parts;
    for (let last = -1; ; ) {
      const message = await this.link.next('waiting for RAM');
      switch (message.type) {
        case 'digest-request':
          await sendDigest(this.disks, message.disk, this.link, options, sync);
          sync.done();
          break;
        case 'record':
          this.branch = message.record;
          break;
        case 'pages': {
          const chunk = decodeChunk(message.body, lifecycle.ram.pageCount, last);
          applyChunk(lifecycle.ram, chunk);
          migration.received(message.body.length);
          last = chunk.last;
          break;
        }
        case 'round-end':
          migration.receivedRound();
          last = -1;
          break;
        case 'precopy-end':
          return;
        default:
          throw unexpected(message.type, 'RAM');
      }
    }
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
    const whole = await this.receive();
    if (!whole) return true;
    // Decided: written or not, read or not, from here on there is only forward.
    if (!this.failover.move('received')) throw new VmError('a failover came first');
    this.heartbeat.grant();
    this.link.post({ type: 'vmstate-received' });
    return this.load(whole);
  }

  /** undefined: the primary gave it up. Nothing of the machine is touched. */
  private async receive(): Promise<WholeEpoch | undefined> {
    const { lifecycle, options } = this.parts;
    const ms = Math.max(options.replyTimeoutMs, options.diskTimeoutMs);
    const ram = new StagedEpoch(lifecycle.ram);
    let info: EpochInfo | undefined;
    let sent = false;
    while (!info) {
      const message = await this.link.next(sent ? 'waiting for pages' : 'waiting for vmstate-send', ms, () => progressOf(this.disks));
      if (message.type === 'abort-epoch') return undefined;
      if (!sent && message.type !== 'vmstate-send') throw unexpected(message.type, 'vmstate-send');
      if (message.type === 'pages') ram.add(message.body);
      else if (message.type === 'epoch') info = message;
      else if (sent) throw unexpected(message.type, 'pages or epoch');
      sent = true;
    }
    const { size } = await this.link.expect('vmstate-size', ms);
    if (size > options.blobBytesMax) throw new VmError(`device state of ${size} bytes, at most ${options.blobBytesMax} allowed`);
    const blob = await receivePieces(size, async () => (await this.link.expect('blob', ms)).bytes);
    await this.link.guard(ram.check(info, this.epoch, this.disks), 'the count of writes', options.diskTimeoutMs);
    const devices = lifecycle.parseDevices(blob);
    this.step('secondary-checked');
    return { info, ram, devices };
  }

  /** After vmstate-received. A failure here means that neither the old nor the new state is whole. */
  private async load({ info, ram, devices }: WholeEpoch): Promise<boolean> {
    const { clock, lifecycle, options } = this.parts;
    try {
      ram.apply(() => this.step('secondary-half-applied'));
      this.step('secondary-ram-applied');
      devices.apply();
      this.step('secondary-devices-applied');
      if (info.ramHashed && options.verifyRam && lifecycle.ram.hash() !== info.ramHash) throw new VmError(`RAM differs from the primary's after epoch ${info.epoch}`);
      for (const disk of this.disks) {
        await within(clock, options.diskTimeoutMs, `disk '${disk.name}'`, disk.checkpoint());
        this.step('secondary-disk-committed');
      }
    } catch (thrown) {
      return this.breakDown(failureOf(thrown).during(`loading epoch ${info.epoch}`));
    }
    this.epoch = info.epoch;
    this.step('secondary-committed');
    this.failover.move('loaded');
    this.wholeMs = this.parts.clock.nowMs();
    if (this.peerIsAlone && this.failover.move('peer-alone')) {
      await this.giveWay();
      return false;
    }
    if (this.state === 'require') {
      this.procedure = this.takeOver();
      return false;
    }
    this.link.post({ type: 'vmstate-loaded' });
    void this.recordWhole();
    return true;
  }

  /** Tried again with each epoch until it is written. */
  private async recordWhole(): Promise<void> {
    if (this.recorded) return;
    this.recorded = true;
    this.recorded = await this.tryRecord('protected');
  }

  /** This side's state is not whole: it says so, and can never take over. */
  private breakDown(error: VmError): false {
    this.failover.move('failed');
    this.heartbeat.silence();
    this.link.post({ type: 'error', text: error.message });
    this.link.fail(error);
    void this.link.farewell();
    if (this.parts.migration.status === 'colo') this.parts.migration.move('failed', error.message);
    this.tellExit('error', error.message);
    return false;
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
      case 'going-alone':
        this.note('got', message);
        this.peerIsAlone = true;
        this.tellAlone();
        this.link.fail(new VmError('the primary goes on alone'));
        if (this.state === 'lost' && this.failover.move('peer-alone')) this.procedure = this.giveWay();
        return true;
      default:
        return false;
    }
  }

  /** x-colo-lost-heartbeat on the secondary (rule 8). The conversation ends first: an epoch that was not whole is forgotten with it. */
  private async takeOver(): Promise<void> {
    const { clock, lifecycle, migration, options } = this.parts;
    this.failover.move('begin');
    this.heartbeat.silence();
    this.link.fail(new VmError('failover was requested'));
    const times = { leaseMs: this.leaseMs, leaseMarginMs: options.leaseMarginMs, stopTimeoutMs: options.stopTimeoutMs };
    const result = await fence(this.link, clock, times, { stopped: this.stopped, peerAlone: this.peerAlone, lastGrantMs: this.heartbeat.lastGrantMs });
    if (result === 'peer-alone') {
      this.failover.move('peer-alone');
      return this.giveWay();
    }
    this.link.destroy();
    await this.conversation;
    this.step('takeover-fenced');
    await within(clock, options.diskTimeoutMs, 'dropping the export', this.parts.dropExports()).catch(thrown => this.warn(failureOf(thrown)));
    this.step('takeover-exports-dropped');
    const error = await stopAll(this.disks, true, clock, options.mergeTimeoutMs, () => this.step('takeover-disk-merged'));
    if (error) return void this.breakDown(error.during('failover'));
    const unrecorded = await this.goOnAsNext().then(() => undefined, failureOf);
    if (unrecorded) return void this.breakDown(unrecorded.during('failover'));
    this.step('takeover-recorded');
    for (const output of this.outputs) output.releaseAll();
    this.step('takeover-network-open');
    lifecycle.runAfterFailover();
    this.failover.move('done');
    migration.move('completed');
    this.tellExit('request');
    this.step('takeover-running');
  }

  /** The primary was told to go on alone: what is here is history. */
  private async giveWay(): Promise<void> {
    const { clock, migration, options } = this.parts;
    this.heartbeat.silence();
    this.link.destroy();
    for (const output of this.outputs) output.drop();
    await stopAll(this.disks, false, clock, options.diskTimeoutMs);
    if (migration.status === 'colo') migration.move('failed', 'the primary goes on alone');
    this.tellExit('error', 'the primary goes on alone');
  }

  private async shutdownTogether(): Promise<void> {
    const { clock, lifecycle, migration, options } = this.parts;
    this.heartbeat.silence();
    for (const output of this.outputs) output.drop();
    await stopAll(this.disks, false, clock, options.diskTimeoutMs);
    await this.tryRecord('together');
    this.link.destroy();
    migration.move('completed');
    lifecycle.powerOff();
  }

  protected override async leave(error: VmError): Promise<void> {
    const { clock, migration, options } = this.parts;
    if (this.peerIsAlone && this.state === 'protected' && this.failover.move('peer-alone')) return this.giveWay();
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
    await stopAll(this.disks, false, clock, options.diskTimeoutMs);
    if (migration.status === 'colo') this.tellExit('error', error.message);
    migration.move('failed', error.message);
  }

  private warn(error: VmError): void {
    trace('failover_warning', { side: this.side, error: error.message });
  }
}
