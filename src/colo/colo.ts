/**
 * COLO as the monitor and the machine see it: migrate, listen, lost heartbeat, status. At most one session at a time; after a failover
 * the same object starts or accepts the next one.
 */
import { VmError, failureOf } from '../base/errors.js';
import type { Listener, Sockets, Stream } from '../host/ports.js';
import { MigrationState, type MigrationData } from '../migration/status.js';
import { parseMigrationUri } from '../migration/uri.js';
import type { ColoExitReason, ColoMode, FailoverStatus } from '../qapi/types.js';
import type { ColoParts } from './contract.js';
import { type ColoState, failoverStatus } from './failover.js';
import { type ColoOptions, checkOptions } from './options.js';
import { ColoPrimary } from './primary.js';
import { ColoSecondary } from './secondary.js';
import type { ColoStatistics } from './statistics.js';

/** Connections that have not said a valid hello yet. */
const strangersMax = 4;

export interface ColoDeps extends Omit<ColoParts, 'migration' | 'options'> {
  readonly sockets: Sockets;
  /** Live: colo itself changes only checkpointDelayMs in it. */
  readonly options: ColoOptions;
}

/** query-colo-status. */
export interface ColoStatus {
  mode: ColoMode;
  'last-mode': ColoMode;
  reason: ColoExitReason;
}

/** `info colo`: more than QMP's three words. */
export interface ColoInfo extends ColoStatus {
  state: ColoState;
  failover: FailoverStatus;
  peer: string | undefined;
  heldPackets: number;
  checkpointDelayMs: number;
  statistics: ColoStatistics | undefined;
}

export class Colo {
  readonly migration: MigrationState;
  private readonly parts: ColoParts;
  private readonly sockets: Sockets;
  private session: ColoPrimary | ColoSecondary | undefined;
  private lastMode: ColoMode = 'none';
  private readonly strangers = new Set<ColoSecondary>();
  private listener: Listener | undefined;

  constructor(deps: ColoDeps) {
    const { sockets, options, ...rest } = deps;
    this.sockets = sockets;
    this.migration = new MigrationState(deps.events, () => deps.clock.nowMs());
    this.parts = { ...rest, migration: this.migration, options: checkOptions(options) };
  }

  /** `migrate`: a bad URI and a running migration are refused here; what comes later is in query-migrate. `connected` settles with the connection. */
  migrate(uri: string): { connected: Promise<void> } {
    const address = parseMigrationUri(uri, 'connect');
    if (this.migration.busy) throw new VmError("There's a migration process in progress");
    if (this.listener && this.session?.state !== 'completed') throw new VmError('this machine waits for an incoming migration');
    this.listener?.dispose();
    this.listener = undefined;
    this.migration.move('setup');
    const connected = this.sockets.connect(address, { timeoutMs: this.parts.options.connectTimeoutMs }).then(
      stream => this.startPrimary(stream),
      thrown => this.migration.move(this.migration.status === 'cancelling' ? 'cancelled' : 'failed', failureOf(thrown).message),
    );
    return { connected };
  }

  /** `-incoming`: waits for a primary. A stranger and a machine that differs are sent away, and it waits on. */
  async listen(uri: string): Promise<Listener['address']> {
    const address = parseMigrationUri(uri, 'listen');
    if (this.listener) throw new VmError('this machine waits for an incoming migration already');
    this.listener = await this.sockets.listen(address, stream => this.greet(stream));
    return this.listener.address;
  }

  /** migrate_cancel: no effect once in colo, as in QEMU; only lost-heartbeat leaves. */
  cancel(): void {
    if (this.migration.status !== 'setup' && this.migration.status !== 'active') return;
    if (!(this.session instanceof ColoPrimary) && this.migration.status === 'active') return;
    this.migration.move('cancelling');
    if (this.session instanceof ColoPrimary) this.session.close();
  }

  /** x-colo-lost-heartbeat: returns when accepted; VmError with the reason otherwise. */
  lostHeartbeat(): void {
    if (!this.session) throw new VmError("The feature 'colo' is not enabled");
    this.session.lostHeartbeat();
  }

  /** x-checkpoint-delay: the wait that runs is measured anew. */
  setCheckpointDelay(ms: number): void {
    if (!Number.isSafeInteger(ms) || ms < 0) throw new VmError(`x-checkpoint-delay ${ms} is not a number of milliseconds`);
    this.parts.options.checkpointDelayMs = ms;
    if (this.session instanceof ColoPrimary) this.session.kick();
  }

  /** A checkpoint as soon as possible. */
  requestCheckpoint(): void {
    if (!(this.session instanceof ColoPrimary) || this.session.state !== 'protected') throw new VmError("The feature 'colo' is not enabled");
    this.session.requestCheckpoint();
  }

  /**
   * The guest or the user asks for power off, and Lifecycle.shutdownRequested is true. True: colo calls Lifecycle.powerOff when it is time.
   * False: nobody but the machine is concerned. On the secondary a shutdown is the primary's job: nothing happens, true.
   */
  guestShutdown(): boolean {
    const concerned = this.mode !== 'none';
    if (concerned && this.session instanceof ColoPrimary) this.session.kick();
    return concerned;
  }

  /** Neither side lets a user resume the guest while it is not its own. */
  get mode(): ColoMode {
    const state = this.session?.state ?? 'none';
    if (!this.session || state === 'completed' || state === 'yielded' || state === 'ended' || state === 'none') return 'none';
    return state === 'entering' && this.migration.status !== 'colo' ? 'none' : this.session.side;
  }

  status(): ColoStatus {
    return { mode: this.mode, 'last-mode': this.lastMode, reason: this.session?.exitReason ?? 'none' };
  }

  info(): ColoInfo {
    const state = this.session?.state ?? 'none';
    return {
      ...this.status(),
      state,
      failover: failoverStatus(state),
      peer: this.session?.peer,
      heldPackets: this.session?.heldPackets ?? 0,
      checkpointDelayMs: this.parts.options.checkpointDelayMs,
      statistics: this.session instanceof ColoPrimary ? this.session.statistics : undefined,
    };
  }

  query(): MigrationData {
    return this.migration.data();
  }

  /** Settles when nothing of the present session goes on: an error has been told, or a failover is through. */
  async settled(): Promise<void> {
    await this.session?.over();
  }

  dispose(): void {
    this.listener?.dispose();
    for (const stranger of this.strangers) stranger.close();
    this.session?.close();
  }

  private startPrimary(stream: Stream): void {
    if (this.migration.status === 'cancelling') {
      stream.destroy();
      return this.migration.move('cancelled');
    }
    const session = new ColoPrimary(this.parts, stream);
    this.adopt(session);
    session.begin();
  }

  private greet(stream: Stream): void {
    // The one that has said nothing for longest makes room: silent clients must not keep a primary away.
    if (this.strangers.size >= strangersMax) for (const oldest of [...this.strangers].slice(0, 1)) this.sendAway(oldest);
    const session: ColoSecondary = new ColoSecondary(this.parts, stream, () => {
      if (this.session && this.session.state !== 'none') throw new VmError(taken(this.session.state));
      this.strangers.delete(session);
      this.adopt(session);
    });
    this.strangers.add(session);
    session.begin();
    void session.over().then(() => this.strangers.delete(session));
  }

  private sendAway(stranger: ColoSecondary): void {
    this.strangers.delete(stranger);
    stranger.close();
  }

  private adopt(session: ColoPrimary | ColoSecondary): void {
    this.session = session;
    this.lastMode = session.side;
  }
}

/** Why a secondary takes no further primary. */
function taken(state: ColoState): string {
  const over = state === 'yielded' || state === 'broken' || state === 'completed' || state === 'ended';
  return over ? 'this secondary has been in COLO: start it anew' : 'this secondary has a primary already';
}
