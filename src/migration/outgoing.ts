/**
 * The source of a migration without COLO: precopy while the guest runs, the rest and the device
 * state while it stands still. The guest is handed over with `go`, after the destination has said
 * that all is there; what fails before leaves it running here.
 */
import { VmError, failureOf } from '../base/errors.js';
import type { Channel } from './channel.js';
import { PIECE_BYTES, transferKinds } from './messages.js';
import { Pace } from './pace.js';
import { type PageStaging, chunkPagesOfData, encodePageChunk, PAGE_BYTES } from './pages.js';
import { type PrecopyTarget, precopy, sendRound } from './precopy.js';
import { takeImages, Transfer, type TransferPorts } from './transfer.js';
import { Turns } from './turns.js';
import { within } from './wait.js';

export class Outgoing extends Transfer {
  private readonly pace = new Pace(this.ports.clock, this.ports.parameters);
  private readonly turns = new Turns(this.ports.clock, this.ports.limits.turnBytes);
  private pages = 0;
  private passes = 0;
  /** `go` may have left: the destination may run the guest. */
  private handedOver = false;

  constructor(ports: TransferPorts, channel: Channel) {
    super(ports, 'source', channel);
  }

  /** The guest is still ours. */
  override get cancellable(): boolean {
    return !this.handedOver;
  }

  protected async converse(): Promise<void> {
    const { migration, vm, limits } = this.ports;
    const { oneWay } = this.channel;
    const obstacle = this.ports.diskObstacle('outgoing', !oneWay);
    if (obstacle !== undefined) throw new VmError(obstacle);
    const manifest = vm.manifest();
    migration.ramTotalBytes = manifest.ramBytes;
    await this.link.send({ type: 'hello', hello: { manifest, colo: false, leaseMs: 0 } });
    if (!oneWay) await this.link.expect('accept', limits.replyTimeoutMs);
    migration.move('active');
    this.pace.restart();
    this.passes = await precopy(vm, this.target, {
      chunkPages: () => this.pace.chunkPages(limits.chunkPages),
      rounds: Infinity,
      turns: this.turns,
      enough: pages => this.fitsDowntime(pages),
    });
    await this.complete();
  }

  /** What is left would be through within downtime-limit, as fast as it went so far. */
  private fitsDowntime(dirtyPages: number): boolean {
    const { migration, parameters } = this.ports;
    const { rate } = this.pace;
    this.pace.restart();
    if (dirtyPages === 0) return true;
    if (rate === undefined) return false;
    const expectedMs = (dirtyPages * PAGE_BYTES) / rate;
    migration.expect(expectedMs);
    return expectedMs <= parameters.downtimeLimitMs;
  }

  private async complete(): Promise<void> {
    const { clock, flushDisks, limits, migration, vm } = this.ports;
    const { oneWay } = this.channel;
    this.checkLink();
    migration.move('device');
    migration.stopped();
    const ran = await vm.stopForMigration();
    await this.link.guard(
      within(clock, limits.replyTimeoutMs, 'flushing the disks', flushDisks()),
      'flushing the disks',
    );
    const rest = vm.ram.dirtyLog.take();
    migration.pass(++this.passes, rest.length);
    await sendRound(
      vm.ram,
      rest,
      { ...this.target, sendChunk: this.sendChunk },
      { chunkPages: () => limits.chunkPages, turns: this.turns },
    );
    const blob = vm.saveDevices();
    if (blob.length > limits.blobBytesMax)
      throw new VmError(
        `device state has ${blob.length} bytes, at most ${limits.blobBytesMax} allowed`,
      );
    await this.link.send({ type: 'device-state', size: blob.length, pages: this.pages, ran });
    for (let at = 0; at < blob.length; at += PIECE_BYTES)
      await this.link.send({ type: 'blob', bytes: blob.subarray(at, at + PIECE_BYTES) });
    if (!oneWay) {
      await this.link.expect('loaded', limits.replyTimeoutMs);
      await this.giveImages();
    }
    this.checkLink();
    this.handedOver = !oneWay;
    await this.link.send({ type: 'go' });
    if (oneWay) await this.finish();
    else await this.link.expect('started', limits.replyTimeoutMs);
    vm.ram.dirtyLog.stop();
    vm.migrationDone({ mayContinue: oneWay });
    migration.move('completed');
    this.link.destroy();
  }

  /**
   * From here on this process does not write the images, so the destination can lock them when it
   * reads `go`.
   */
  private giveImages(): Promise<void> {
    const { clock, images, limits } = this.ports;
    const given = within(clock, limits.replyTimeoutMs, 'giving up the images', images.inactivate());
    return this.link.guard(given, 'giving up the images', limits.replyTimeoutMs);
  }

  private async finish(): Promise<void> {
    const { replyTimeoutMs } = this.ports.limits;
    await this.link.finish(replyTimeoutMs);
    await this.link.guard(
      this.channel.result?.keep() ?? Promise.resolve(),
      'putting the state in its place',
      replyTimeoutMs,
    );
  }

  /** A cancel or a yank came. */
  private checkLink(): void {
    const { failed } = this.link;
    if (failed) throw failed;
  }

  private readonly sendChunk = async (
    staging: PageStaging,
    from: number,
    to: number,
  ): Promise<void> => {
    const frame = encodePageChunk(transferKinds.pages, staging, from, to);
    this.pages += to - from;
    this.ports.migration.sent(frame.length, to - from, chunkPagesOfData(frame));
    await this.link.sendFrame({ type: 'pages', body: frame }, frame);
    this.paced = frame.length;
  };
  private paced = 0;

  /** While the guest runs: held to max-bandwidth. */
  private readonly target: PrecopyTarget = {
    sendChunk: async (staging, from, to) => {
      await this.sendChunk(staging, from, to);
      await this.link.guard(this.pace.after(this.paced), 'max-bandwidth');
    },
    endRound: () => this.link.send({ type: 'round-end' }),
    progress: (round, dirtyPages) => this.ports.migration.pass(round, dirtyPages),
  };

  /** Undefined: the guest may go on here. */
  private async comeBack(): Promise<string | undefined> {
    // This side cannot know whether the destination has read `go`, so a user must look.
    if (this.handedOver && !this.peerGaveUp) {
      return 'the destination did not say that it runs: look there before a cont here';
    }
    this.ports.images.giveUp();
    try {
      await takeImages(this.ports);
      return undefined;
    } catch (thrown) {
      const { message } = failureOf(thrown);
      return `the guest stands still here until a cont, for its images cannot be had: ${message}`;
    }
  }

  protected override async leave(error: VmError): Promise<void> {
    const { migration, vm } = this.ports;
    vm.ram.dirtyLog.stop();
    const obstacle = await this.comeBack();
    if (obstacle === undefined) vm.migrationFailed();
    else vm.migrationDone({ mayContinue: true });
    const text = obstacle === undefined ? error.message : `${error.message}; ${obstacle}`;
    migration.move(migration.status === 'cancelling' ? 'cancelled' : 'failed', text);
    await this.sayWhy(error);
    await this.channel.result?.discard();
  }
}
