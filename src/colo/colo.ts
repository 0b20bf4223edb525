/**
 * Migration as the monitor and the machine see it, into COLO (capability x-colo) or without:
 * migrate, listen, lost heartbeat, status. At most one session at a time; after a failover, or when
 * a guest has come, the same object starts or accepts the next one.
 */
import { VmError, lastFailure } from '../base/errors.js';
import type { Listener, Stream } from '../host/ports.js';
import {
  type Channel,
  type Transports,
  closeChannel,
  openIncoming,
  openOutgoing,
} from '../migration/channel.js';
import { Incoming } from '../migration/incoming.js';
import { Outgoing } from '../migration/outgoing.js';
import { type MigrationParameters, defaultParameters } from '../migration/parameters.js';
import { MigrationState, type MigrationData } from '../migration/status.js';
import { takeImages, type TransferParts } from '../migration/transfer.js';
import { type Endpoint, isAddress, parseMigrationUri } from '../migration/uri.js';
import type { SyncFrom } from '../migration/manifest.js';
import type { ColoMode } from '../qapi/types.js';
import { askPeer } from './ask.js';
import { type ColoParts, requireProcess } from './contract.js';
import type { Controlled } from './controlled.js';
import { type ColoState, failoverStatus, pairState } from './failover.js';
import type { HeartbeatTimes } from './heartbeat.js';
import { IncomingListener } from './incoming-listener.js';
import type { ColoInfo, ColoStatus } from './info.js';
import { type ColoOptions, checkOptions } from './options.js';
import { ColoPrimary } from './primary.js';
import { ColoSecondary } from './secondary.js';
import type { Session } from './session.js';

export interface ColoDeps
  extends
    Omit<ColoParts, 'migration' | 'options' | 'parameters'>,
    Pick<TransferParts, 'flushDisks' | 'diskObstacle' | 'images'> {
  readonly transports: Transports;
  /** Live: colo itself changes only checkpointDelayMs in it. */
  readonly options: ColoOptions;
  /** The capability x-colo, at first. */
  readonly xColo: boolean;
  /**
   * The guest that waited for its peer's word, or its user's, runs, unless the user wants it to
   * wait (-S).
   */
  startGuest(): Promise<void>;
}

export const capabilityNames = ['x-colo', 'events'] as const;
export type CapabilityName = (typeof capabilityNames)[number];

export class Colo {
  readonly migration: MigrationState;
  readonly parameters: MigrationParameters = { ...defaultParameters };
  private readonly parts: ColoParts;
  private readonly transferParts: TransferParts;
  private readonly transports: Transports;
  private readonly startGuest: () => Promise<void>;
  private readonly capabilities: Map<CapabilityName, boolean>;
  /** The latest of COLO: what it has become is seen until there is another. */
  private session: Session | undefined;
  /** The latest guest that came without COLO. */
  private arrival: Incoming | undefined;
  /** The latest of all. */
  private current: Controlled | undefined;
  private lastMode: ColoMode = 'none';
  private readonly incoming: IncomingListener;
  private dialing: { abandon(error: VmError): void } | undefined;

  constructor(deps: ColoDeps) {
    const { transports, options, xColo, startGuest, flushDisks, diskObstacle, images, ...rest } =
      deps;
    this.startGuest = startGuest;
    this.transports = transports;
    this.incoming = new IncomingListener(transports.sockets, stream =>
      this.capabilities.get('x-colo')
        ? this.futureSecondary(stream)
        : this.futureGuest({ stream, oneWay: false }),
    );
    this.migration = new MigrationState(deps.events, () => deps.clock.nowMs());
    this.capabilities = new Map([
      ['x-colo', xColo],
      ['events', false],
    ]);
    this.parts = {
      ...rest,
      migration: this.migration,
      options: checkOptions(options),
      parameters: this.parameters,
    };
    this.transferParts = {
      clock: deps.clock,
      vm: deps.lifecycle,
      migration: this.migration,
      parameters: this.parameters,
      limits: options,
      flushDisks,
      diskObstacle,
      images,
    };
  }

  get capability(): ReadonlyMap<CapabilityName, boolean> {
    return this.capabilities;
  }

  setCapability(name: CapabilityName, on: boolean): void {
    if (this.migration.busy) throw new VmError("There's a migration process in progress");
    this.capabilities.set(name, on);
  }

  /**
   * `migrate`: a bad URI and a running migration are refused here; what comes later is in
   * query-migrate. `connected` settles with the connection.
   */
  migrate(uri: string): { connected: Promise<void> } {
    const endpoint = parseMigrationUri(uri, 'connect');
    const colo = this.capabilities.get('x-colo') === true;
    if (this.migration.busy) throw new VmError("There's a migration process in progress");
    if (colo && !isAddress(endpoint))
      throw new VmError(`COLO needs a peer that answers, not ${endpoint.kind}:`, {
        hint: 'migrate_set_capability x-colo off saves the guest.',
      });
    if (this.incoming.open && this.session?.state !== 'completed')
      throw new VmError('this machine waits for an incoming migration');
    this.parts.lifecycle.checkMigratable();
    this.incoming.close();
    this.migration.move('setup');
    return { connected: this.dial(endpoint, colo) };
  }

  /** Until it has answered it may be given up; what comes of it later is closed. */
  private async dial(endpoint: Endpoint, colo: boolean): Promise<void> {
    const abandoned = new Promise<never>((_, reject) => (this.dialing = { abandon: reject }));
    const opening = openOutgoing(endpoint, this.transports, this.parts.options.connectTimeoutMs);
    try {
      const channel = await Promise.race([opening, abandoned]);
      this.dialing = undefined;
      if (colo) this.adopt(new ColoPrimary(this.parts, channel.stream));
      else this.current = new Outgoing(this.transferParts, channel);
      this.current!.begin();
    } catch (thrown) {
      this.dialing = undefined;
      opening.then(closeChannel, () => undefined);
      this.migration.move(
        this.migration.status === 'cancelling' ? 'cancelled' : 'failed',
        lastFailure(thrown).message,
      );
    }
  }

  /**
   * `-incoming`: waits for a primary, or for a guest. A stranger and a machine that differs are
   * sent away, and it waits on.
   */
  async listen(uri: string): Promise<Listener['address']> {
    const endpoint = parseMigrationUri(uri, 'listen');
    this.checkWaiting();
    if (!isAddress(endpoint)) throw new VmError(`'${uri}' is loaded, nobody comes from there`);
    return this.incoming.listen(endpoint);
  }

  /**
   * `-incoming file:` or `exec:`. Settles when the guest is here; VmError: it is not, and another
   * may be tried.
   */
  async load(uri: string): Promise<void> {
    const endpoint = parseMigrationUri(uri, 'listen');
    this.checkWaiting();
    if (isAddress(endpoint)) throw new VmError(`'${uri}' is waited on, not loaded`);
    this.checkOwnDisks();
    if (this.capabilities.get('x-colo'))
      throw new VmError('a secondary waits for a primary that answers', {
        hint: 'A saved guest is loaded by `colo primary -incoming file:PATH`.',
      });
    const incoming = new Incoming(
      this.transferParts,
      await openIncoming(endpoint, this.transports),
      () => this.checkFree(),
    );
    this.current = this.arrival = incoming;
    incoming.begin();
    await incoming.over();
    if (incoming.failure) throw incoming.failure;
  }

  /** Where it waits for a migration, with the port that was chosen if 0 was asked. */
  get waitsAt(): Listener['address'] | undefined {
    return this.incoming.address;
  }

  /** A guest that comes by itself runs on this side's disks. */
  private checkOwnDisks(): void {
    const held = this.parts.identity.obstacle;
    if (held) throw held;
  }

  private checkWaiting(): void {
    requireProcess(this.parts.lifecycle);
    if (this.incoming.open || this.migration.busy || (this.arrival && !this.arrival.failure))
      throw new VmError('this machine waits for an incoming migration already');
  }

  /** `cont` after a migration whose end is not known: VmError, another process has the images. */
  takeImages(): Promise<void> {
    return takeImages(this.transferParts);
  }

  /** migrate_cancel: no effect once in colo, as in QEMU; only lost-heartbeat leaves. */
  cancel(): void {
    const { status } = this.migration;
    if (status !== 'setup' && status !== 'active' && status !== 'device') return;
    if (this.dialing) {
      this.migration.move('cancelling');
      return this.dialing.abandon(new VmError('the migration was cancelled'));
    }
    if (!this.current?.cancellable) return;
    this.migration.move('cancelling');
    this.current.cancel();
  }

  /** yank: whatever waits for the other side of a migration fails now. False: there is none. */
  yank(): boolean {
    return this.breakOff(new VmError('the connection was yanked'));
  }

  /**
   * Something in this process went wrong that nobody had foreseen. What it left is not worth a
   * checkpoint, nor to be loaded into: COLO ends as if the connection were lost.
   */
  internalError(error: VmError): void {
    this.session?.distrust(error);
    this.breakOff(error);
  }

  private breakOff(error: VmError): boolean {
    if (!this.migration.busy) return false;
    if (this.dialing) this.dialing.abandon(error);
    else this.current?.abort(error);
    return true;
  }

  /** x-colo-lost-heartbeat: returns when accepted; VmError with the reason otherwise. */
  lostHeartbeat(): void {
    requireProcess(this.parts.lifecycle);
    if (!this.session) throw new VmError("The feature 'colo' is not enabled");
    this.session.lostHeartbeat();
  }

  /**
   * Does the peer run this guest? VmError: it does, and that is written down. False: there was no
   * answer within ms.
   */
  async askPeer(uri: string, ms: number): Promise<boolean> {
    const endpoint = parseMigrationUri(uri, 'connect');
    if (!isAddress(endpoint)) return false;
    const { sockets } = this.transports;
    const { clock, identity } = this.parts;
    const answer = await sockets
      .connect(endpoint, { timeoutMs: ms })
      .then(stream => askPeer(stream, clock, ms))
      .catch(() => undefined);
    if (answer?.kind === 'runs') throw await identity.heardOf(answer.record);
    return answer !== undefined;
  }

  /** It is no secondary, and has not run for want of a word of the peer's. */
  get waitsForWord(): boolean {
    const { session } = this;
    const idle = !session || (session.side === 'primary' && session.state === 'none');
    return (
      idle && !this.incoming.open && this.parts.lifecycle.pristine && this.heldBack !== undefined
    );
  }

  /** x-colo-lost-heartbeat for such a guest: the user's word stands for the peer's. */
  async runByOrder(): Promise<void> {
    this.parts.lifecycle.checkMigratable();
    await this.parts.identity.goAlone();
    await this.startGuest();
  }

  /** Why the guest may not run its first instruction; undefined: it may. */
  get heldBack(): VmError | undefined {
    const { session } = this;
    if (session?.replacing)
      return new VmError("the guest's disks are being copied from the secondary");
    if (session?.mayRun && session.state !== 'yielded' && session.state !== 'none')
      return undefined;
    return this.parts.identity.obstacle;
  }

  /** Asked before the first instruction; what that makes of the images is durable afterwards. */
  async admitGuest(): Promise<void> {
    const held = this.heldBack;
    if (held) throw held;
    if (this.mode !== 'primary') await this.parts.identity.beginAlone();
  }

  /** x-sync-from: the user's word for the next entry. */
  get syncFrom(): SyncFrom | undefined {
    return this.parts.options.syncFrom;
  }

  set syncFrom(side: SyncFrom | undefined) {
    if (this.migration.busy) throw new VmError("There's a migration process in progress");
    this.parts.options.syncFrom = side;
  }

  /** x-checkpoint-delay: the wait that runs is measured anew. */
  setCheckpointDelay(ms: number): void {
    if (!Number.isSafeInteger(ms) || ms < 0)
      throw new VmError(`x-checkpoint-delay ${ms} is not a number of milliseconds`);
    this.parts.options.checkpointDelayMs = ms;
    this.session?.kick();
  }

  /** x-heartbeat-interval and -timeout: at once, on this side. The lease bounds the interval. */
  setHeartbeat({ heartbeatMs, peerTimeoutMs }: Partial<HeartbeatTimes>): void {
    const { options } = this.parts;
    const interval = heartbeatMs ?? options.heartbeatMs;
    const timeout = peerTimeoutMs ?? options.peerTimeoutMs;
    const most = options.leaseMs / 2;
    if (interval > most) {
      throw new VmError(`x-heartbeat-interval ${interval}: it is at most ${most} ms`);
    }
    const least = interval * 2;
    if (timeout < least) {
      throw new VmError(
        `x-heartbeat-timeout ${timeout}: it is at least two intervals, ${least} ms`,
      );
    }
    Object.assign(options, { heartbeatMs: interval, peerTimeoutMs: timeout });
  }

  get heartbeat(): HeartbeatTimes {
    return this.parts.options;
  }

  /** A checkpoint as soon as possible. */
  requestCheckpoint(): void {
    if (this.session?.side !== 'primary' || this.session.state !== 'protected')
      throw new VmError("The feature 'colo' is not enabled");
    this.session.requestCheckpoint();
  }

  /**
   * The guest or the user asks for power off, and Lifecycle.shutdownRequested is true. True: colo
   * calls Lifecycle.finishShutdown when it is time. False: it concerns the machine alone. On the
   * secondary a shutdown is the primary's job: nothing happens, true.
   */
  guestShutdown(): boolean {
    const concerned = this.mode !== 'none';
    if (concerned) this.session?.kick();
    return concerned;
  }

  /** Neither side lets a user resume the guest while it is not its own. */
  get mode(): ColoMode {
    const state = this.session?.state ?? 'none';
    if (
      !this.session ||
      state === 'completed' ||
      state === 'yielded' ||
      state === 'ended' ||
      state === 'none'
    )
      return 'none';
    return state === 'entering' && this.migration.status !== 'colo' ? 'none' : this.session.side;
  }

  status(): ColoStatus {
    return {
      mode: this.mode,
      'last-mode': this.lastMode,
      reason: this.session?.exitReason ?? 'none',
    };
  }

  info(): ColoInfo {
    const state = this.session?.state ?? 'none';
    return {
      ...this.status(),
      state,
      failover: failoverStatus(state),
      ...this.standing(state),
      sinceMs: this.session && this.parts.clock.nowMs() - this.session.changedMs,
      lastCheckpointMs: this.session?.lastCheckpointMs,
      disks: this.session?.diskProgress,
      waitsFor: this.session?.waitsFor,
      peer: this.session?.peer,
      heldPackets: this.session?.heldPackets ?? 0,
      checkpointDelayMs: this.parts.options.checkpointDelayMs,
      statistics: this.session?.statistics,
    };
  }

  private standing(state: ColoState): Pick<ColoInfo, 'pair' | 'why'> {
    const held = this.waitsForWord ? this.heldBack : undefined;
    if (held) return { pair: 'held', why: held.message };
    return { pair: pairState(state), why: this.session?.why ?? this.migration.failure };
  }

  query(): MigrationData {
    return this.migration.data();
  }

  /**
   * Settles when nothing of the present session goes on: an error has been told, or a failover is
   * through.
   */
  async settled(): Promise<void> {
    await this.session?.over();
  }

  /**
   * The process ends in order. The peer is told while it can still be, so that it need not wait for
   * a person.
   */
  async depart(why: string): Promise<void> {
    await this.session?.depart(why);
  }

  /** The vCPUs are lost: what they left is not worth a checkpoint. */
  guestFailed(): void {
    this.session?.kick();
  }

  dispose(): void {
    this.incoming.dispose();
    this.session?.close();
    this.current?.close();
  }

  private futureSecondary(stream: Stream): ColoSecondary {
    const session: ColoSecondary = new ColoSecondary(this.parts, stream, {
      taken: this.session?.side === 'secondary' && this.session.state === 'completed',
      admit: () => {
        this.checkFree();
        this.incoming.admit(session);
        this.adopt(session);
      },
    });
    return session;
  }

  /** When the guest is here, nobody else is waited for. */
  private futureGuest(channel: Channel): Incoming {
    const incoming: Incoming = new Incoming(this.transferParts, channel, () => {
      this.checkFree();
      this.checkOwnDisks();
      this.incoming.admit(incoming);
      this.current = this.arrival = incoming;
      void incoming.over().then(() => {
        if (!incoming.failure) this.incoming.close();
      });
    });
    return incoming;
  }

  /** Takes whoever comes to the door first. */
  private checkFree(): void {
    requireProcess(this.parts.lifecycle);
    if (this.session && this.session.state !== 'none') throw new VmError(taken(this.session.state));
    if (this.migration.busy) throw new VmError('a migration to this machine is under way');
  }

  private adopt(session: Session): void {
    this.current = this.session = session;
    this.lastMode = session.side;
  }
}

/** Why a secondary takes no further primary. */
function taken(state: ColoState): string {
  const over =
    state === 'yielded' ||
    state === 'broken' ||
    state === 'completed' ||
    state === 'ended' ||
    state === 'unfinished';
  return over
    ? 'this secondary has been in COLO: start it anew'
    : 'this secondary has a primary already';
}
