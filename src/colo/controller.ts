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
import { takeImages, type TransferPorts } from '../migration/transfer.js';
import { type Endpoint, isAddress, parseMigrationUri } from '../migration/uri.js';
import type { SyncFrom } from '../migration/manifest.js';
import type { ColoMode } from '../qapi/types.js';
import { askPeer } from './ask.js';
import { ColdStart } from './cold-start.js';
import { type ColoPorts, requireProcess } from './contract.js';
import type { Controlled } from './controlled.js';
import { failoverStatus, taken } from './failover.js';
import { CONT_WAIT_MS, FirstRun } from './first-run.js';
import { IncomingListener } from './incoming-listener.js';
import { type ColoInfo, type ColoStatus, noSession } from './info.js';
import type { CheckpointPace, ColoOptions, HeartbeatTimes } from './options.js';
import { checkHeartbeat, checkOptions, checkPace } from './options.js';
import { ColoPrimary } from './primary.js';
import { ColoSecondary } from './secondary.js';
import type { Session } from './session.js';

export interface ColoControllerPorts
  extends
    Omit<ColoPorts, 'migration' | 'options' | 'parameters'>,
    Pick<TransferPorts, 'flushDisks' | 'diskObstacle' | 'images'> {
  readonly transports: Transports;
  /** Live: colo itself changes what has a parameter. */
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

export class ColoController {
  readonly migration: MigrationState;
  readonly parameters: MigrationParameters = { ...defaultParameters };
  private readonly ports: ColoPorts;
  private readonly transferPorts: TransferPorts;
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
  /** Where an arbiter decides. */
  readonly coldStart: ColdStart | undefined;
  readonly firstRun: FirstRun | undefined;
  private dialing: { abandon(error: VmError): void } | undefined;

  constructor(ports: ColoControllerPorts) {
    const { transports, options, xColo, startGuest, flushDisks, diskObstacle, images, ...rest } =
      ports;
    this.startGuest = startGuest;
    this.transports = transports;
    this.incoming = new IncomingListener(transports.sockets, stream =>
      this.capabilities.get('x-colo')
        ? this.futureSecondary(stream)
        : this.futureGuest({ stream, oneWay: false }),
    );
    this.migration = new MigrationState(ports.events, () => ports.clock.nowMs());
    this.capabilities = new Map([
      ['x-colo', xColo],
      ['events', false],
    ]);
    this.ports = {
      ...rest,
      migration: this.migration,
      options: checkOptions(options),
      parameters: this.parameters,
    };
    const side = {
      guestWaits: () => this.waitsForWord,
      replicaWaits: () => this.incoming.open && (this.session?.state ?? 'none') === 'none',
      run: () => this.runByOrder(),
    };
    this.coldStart = ports.arbiter && new ColdStart(this.ports, ports.arbiter, side);
    this.firstRun = ports.arbiter && new FirstRun(this.ports, ports.arbiter);
    this.transferPorts = {
      clock: ports.clock,
      vm: ports.lifecycle,
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
    this.ports.lifecycle.checkMigratable();
    this.incoming.close();
    this.migration.move('setup');
    return { connected: this.dial(endpoint, colo) };
  }

  /** Until it has answered it may be given up; what comes of it later is closed. */
  private async dial(endpoint: Endpoint, colo: boolean): Promise<void> {
    const abandoned = new Promise<never>((_, reject) => (this.dialing = { abandon: reject }));
    const opening = openOutgoing(endpoint, this.transports, this.ports.options.connectTimeoutMs);
    try {
      const channel = await Promise.race([opening, abandoned]);
      this.dialing = undefined;
      if (colo) this.adopt(new ColoPrimary(this.ports, channel.stream));
      else this.current = new Outgoing(this.transferPorts, channel);
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
      this.transferPorts,
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
    const held = this.ports.identity.obstacle;
    if (held) throw held;
  }

  private checkWaiting(): void {
    requireProcess(this.ports.lifecycle);
    if (this.incoming.open || this.migration.busy || (this.arrival && !this.arrival.failure))
      throw new VmError('this machine waits for an incoming migration already');
  }

  /** `cont` after a migration whose end is not known: VmError, another process has the images. */
  takeImages(): Promise<void> {
    return takeImages(this.transferPorts);
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

  /**
   * yank: fails at once what waits for the other side of a migration. False: there is no migration.
   */
  yank(): boolean {
    return this.breakOff(new VmError('the connection was yanked'));
  }

  /**
   * An exception was not caught in this process. The state that it left must neither be sent nor be
   * loaded into, so COLO ends as if the connection were lost.
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
    this.pair.lostHeartbeat();
  }

  /** What a user tells the two sides of a pair. VmError: there is none. */
  get pair(): Session {
    requireProcess(this.ports.lifecycle);
    if (!this.session) throw new VmError("The feature 'colo' is not enabled");
    return this.session;
  }

  /**
   * Does the peer run this guest? VmError: it does, and that is written down. False: there was no
   * answer within ms.
   */
  async askPeer(uri: string, ms: number): Promise<boolean> {
    const endpoint = parseMigrationUri(uri, 'connect');
    if (!isAddress(endpoint)) return false;
    const { sockets } = this.transports;
    const { clock, identity } = this.ports;
    const answer = await sockets
      .connect(endpoint, { timeoutMs: ms })
      .then(stream => askPeer(stream, clock, ms))
      .catch(() => undefined);
    if (answer?.kind === 'runs') throw await identity.heardOf(answer.record);
    return answer !== undefined;
  }

  /** The guest is not a secondary's, and has not run because the peer has not answered yet. */
  get waitsForWord(): boolean {
    const { session } = this;
    const idle = !session || (session.side === 'primary' && session.state === 'none');
    return (
      idle && !this.incoming.open && this.ports.lifecycle.pristine && this.heldBack !== undefined
    );
  }

  /** The other side goes on with this guest. */
  get superseded(): boolean {
    const { session } = this;
    if (session?.hasLeft) return false;
    return session?.state === 'yielded' || this.ports.identity.isSuperseded;
  }

  /** x-colo-lost-heartbeat for such a guest: the user's word stands for the peer's. */
  async runByOrder(): Promise<void> {
    this.ports.lifecycle.checkMigratable();
    await this.ports.identity.goAlone();
    await this.startGuest();
  }

  /** Why the guest may not run its first instruction; undefined: it may. */
  get heldBack(): VmError | undefined {
    const { session } = this;
    if (session?.replacing)
      return new VmError("the guest's disks are being copied from the secondary");
    if (session?.mayRun && session.state !== 'yielded' && session.state !== 'none')
      return undefined;
    return this.ports.identity.obstacle;
  }

  /** Asked before the first instruction; what that makes of the images is durable afterwards. */
  async admitGuest(): Promise<void> {
    const held = this.heldBack;
    if (held) throw held;
    if (this.mode === 'primary') return;
    await this.firstRun?.admit(CONT_WAIT_MS);
    await this.ports.identity.beginAlone();
  }

  /** x-sync-from: the user's word for the next entry. */
  get syncFrom(): SyncFrom | undefined {
    return this.ports.options.syncFrom;
  }

  set syncFrom(side: SyncFrom | undefined) {
    if (this.migration.busy) throw new VmError("There's a migration process in progress");
    this.ports.options.syncFrom = side;
  }

  /** x-checkpoint-delay and -gap: the wait that runs is measured anew. */
  setPace(changes: Partial<CheckpointPace>): void {
    Object.assign(this.ports.options, checkPace(changes));
    this.session?.kick();
  }

  get pace(): CheckpointPace {
    return this.ports.options;
  }

  /** x-heartbeat-interval and -timeout: at once; the peer hears of it. */
  setHeartbeat({ heartbeatMs, peerTimeoutMs }: Partial<HeartbeatTimes>): void {
    const { options } = this.ports;
    const wanted = {
      heartbeatMs: heartbeatMs ?? options.heartbeatMs,
      peerTimeoutMs: peerTimeoutMs ?? options.peerTimeoutMs,
    };
    checkHeartbeat({ ...options, ...wanted });
    Object.assign(options, wanted);
  }

  get heartbeat(): HeartbeatTimes {
    return this.ports.options;
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
      ...this.standing(),
      ...(this.session?.info() ?? noSession),
    };
  }

  private standing(): Pick<ColoInfo, 'pair' | 'why'> {
    const held = this.waitsForWord ? this.heldBack : undefined;
    if (held) return { pair: 'held', why: held.message };
    return {
      pair: this.session?.standing ?? 'alone',
      why: this.session?.why ?? this.migration.failure,
    };
  }

  query(): MigrationData {
    return this.migration.data();
  }

  /**
   * Settles when the present session has ended: its error is reported, or its failover is complete.
   */
  async settled(): Promise<void> {
    await this.session?.over();
  }

  /**
   * Called when the process ends in order. It tells the peer, so that the peer need not wait for a
   * person's decision.
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
    const session: ColoSecondary = new ColoSecondary(this.ports, stream, {
      taken:
        this.coldStart?.won === true ||
        (this.session?.side === 'secondary' && this.session.state === 'completed'),
      admit: () => {
        this.checkFree();
        this.incoming.admit(session);
        this.adopt(session);
      },
    });
    return session;
  }

  /** A guest that is still to come. When it is admitted, no other peer is awaited. */
  private futureGuest(channel: Channel): Incoming {
    const incoming: Incoming = new Incoming(this.transferPorts, channel, () => {
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

  /** Refuses a peer while another session or migration is under way. */
  private checkFree(): void {
    requireProcess(this.ports.lifecycle);
    if (this.coldStart?.doorShut) throw new VmError('this side may be about to go on by itself');
    if (this.session && this.session.state !== 'none') throw new VmError(taken(this.session.state));
    if (this.migration.busy) throw new VmError('a migration to this machine is under way');
  }

  private adopt(session: Session): void {
    this.current = this.session = session;
    this.lastMode = session.side;
  }
}
