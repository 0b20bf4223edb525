/**
 * What colo asks of the machine. Disks are block's PrimaryDisk and SecondaryDisk, network output is
 * net's OutputHold; disks and controller never meet.
 */
import type { VmError } from '../base/errors.js';
import type { Arbiter } from '../arbiter/contract.js';
import type { Events } from '../base/events.js';
import type { PrimaryDisk, SecondaryDisk } from '../block/contract/replicated.js';
import type { Clock, Entropy } from '../host/ports.js';
import type { Migratable } from '../migration/contract.js';
import type { MigrationParameters } from '../migration/parameters.js';
import type { MigrationState } from '../migration/status.js';
import type { OutputHold } from '../net/contract.js';
import type { QmpEvents } from '../qapi/types.js';
import type { PairIdentity } from './identity.js';
import type { ColoOptions } from './options.js';
import type { StepHook } from './steps.js';

export type { Manifest, StagedDevices } from '../migration/contract.js';

export interface Lifecycle extends Migratable {
  /**
   * Stops vCPUs, then devices (rule 2): afterwards nothing writes guest RAM. Bounded; a VmError
   * says who did not stop. Run state `colo`. A VM that a user or a shutdown has stopped already
   * counts as stopped.
   */
  stopForCheckpoint(): Promise<void>;
  /**
   * Resumes after a checkpoint, also after a stop that failed. A `stop` or a shutdown that came in
   * between takes effect. Returns at once.
   */
  resumeAfterCheckpoint(): void;
  /**
   * Within the last checkpoint before a planned swap: gives whether the guest is to run on the
   * other side. Until resumeAfterCheckpoint the user's verbs are refused: they would be lost.
   * VmError: what was asked for meanwhile has to be done here first.
   */
  giveAway(): { run: boolean };
  /** STOP and RESUME are told for each checkpoint, as QEMU does. */
  checkpointEvents: boolean;
  /**
   * The secondary takes over: guest time continues from the loaded state, the network is told, the
   * guest runs; `-S` is ignored with a message. run: false: it stands still until `cont`.
   */
  goOnAfterFailover(guest: { run: boolean }): void;
  /** Why nothing may have the guest run or move any more: its process is being ended. */
  readonly ending: VmError | undefined;
  /** The guest has run no instruction since the machine was built. */
  readonly pristine: boolean;
  /**
   * The peer runs this guest from now on, so it stops here and cannot be resumed (run state
   * `postmigrate`). Resolves when no part of it runs.
   */
  haltForPeer(): Promise<void>;
  /**
   * The guest asked to power off, or the user: the primary's loop sends one last checkpoint and
   * guest-shutdown.
   */
  readonly shutdownRequested: boolean;
  /**
   * Why the vCPUs cannot go on. What they left must not be copied: it would cost the peer its last
   * good state.
   */
  readonly failure: string | undefined;
  /**
   * The shutdown that waited for colo (on the secondary: the peer's) happens now, by the machine's
   * ordinary way.
   */
  finishShutdown(): void;
}

/** VmError: the process is being ended. Then nothing begins, and no network opens. */
export function requireProcess({ ending }: Pick<Lifecycle, 'ending'>): void {
  if (ending) throw ending;
}

/** The arbiter of a pair, and what both sides are called there. */
export interface PairArbiter {
  readonly arbiter: Arbiter;
  readonly node: string;
  readonly peer: string;
}

/** What one side of a pair gets from its machine. */
export interface ColoPorts {
  readonly clock: Clock;
  /** For what a stranger must not guess. */
  readonly entropy: Entropy;
  readonly lifecycle: Lifecycle;
  readonly events: Events<QmpEvents>;
  readonly migration: MigrationState;
  /** Live: x-checkpoint-delay changes while it runs. */
  readonly options: ColoOptions;
  readonly parameters: MigrationParameters;
  /**
   * As they are when COLO starts. A VmError that names a disk or netdev that cannot take part is
   * the refusal.
   */
  readonly disks: {
    primary(): PrimaryDisk[];
    secondary(): SecondaryDisk[];
  };
  outputHolds(): OutputHold[];
  /** Who this side is, at its images. */
  readonly identity: PairIdentity;
  /**
   * Secondary, failover: drop the NBD export's clients and wait until their requests are through.
   */
  dropExports(): Promise<void>;
  /** The pair stands in another way than before: ColoController.info() says how. */
  pairChanged?(): void;
  /** undefined: a person decides when the peer is lost. */
  readonly arbiter?: PairArbiter;
  /** A line for people. */
  report(line: string): void;
  /** Fault injection; an empty function otherwise. */
  readonly step: StepHook;
}
