/**
 * Running and standing still: the run state that everyone sees, and who moves it. Whether vCPUs and
 * devices physically run is execution.ts; what a verb does in which state is verbs.ts; this is also
 * what colo drives (colo/contract.ts).
 *
 *   prelaunch --cont--> running <--stop / cont--> paused
 *                       running <--ioError / cont--> io-error
 *                       running <--stopForCheckpoint / resumeAfterCheckpoint--> colo
 *                       running --stopForMigration--> finish-migrate --migrationDone--> postmigrate
 *                       running <--migrationFailed-- finish-migrate   running <--cont-- postmigrate
 *   inmigrate --runAfterMigration, goOnAfterFailover--> running, paused
 *
 * A checkpoint and the end of a migration go back to the state that they found, or to what was
 * asked for meanwhile. From each state: enterShutdown --> shutdown, haltForPeer --> postmigrate
 * without a way back, a vCPU that fails --> internal-error. A reset leaves shutdown and internal-
 * error for paused. beginEnd leaves the state as it is and refuses every verb from then on.
 */
import type { Ram } from '../accel/contract.js';
import { asVmError, assert, lastFailure, VmError } from '../base/errors.js';
import type { Lifecycle, Manifest, StagedDevices } from '../colo/contract.js';
import type { QmpEvents } from '../qapi/types.js';
import { Execution } from './execution.js';
import type { LifecyclePorts, ShutdownReason } from './lifecycle-ports.js';
import { type MachineState, RunStates } from './run-state.js';
import { answerTo, endingError, nothingToBoot, nothingToRun, type Situation } from './verbs.js';

export class VmLifecycle implements Lifecycle {
  readonly states: RunStates;
  /**
   * STOP and RESUME for each checkpoint, as QEMU does; a client that finds them too many switches
   * them off.
   */
  checkpointEvents = true;
  /**
   * Asked before a guest's shutdown is carried out. True: it waits for finishShutdown() (colo sends
   * one last checkpoint).
   */
  shutdownGate: () => boolean = () => false;
  /**
   * Asked before the guest's first instruction: undefined, or it may run when it resolves; a
   * VmError says why not.
   */
  startGate: () => Promise<void> | undefined = () => undefined;
  /**
   * Called before a guest runs here again whose migration to another process had begun. It resolves
   * when this process owns the images again; a VmError says why it cannot.
   */
  takeImages: () => Promise<void> = () => Promise.resolve();
  /** Set when the process is being ended: the reason with which every verb is refused. */
  ending: VmError | undefined;
  /** Why the vCPUs stopped and cannot be resumed; a reset clears it. */
  failure: string | undefined;
  /** The guest or the user asked for a shutdown; a reset clears it. */
  shutdownRequested = false;
  private readonly execution: Execution;
  private resetting: Promise<void> | undefined;
  /**
   * Set in `colo` and `finish-migrate`: the state to return to, changed by verbs that came in
   * between.
   */
  private resumeTo: MachineState = 'paused';
  /** STOP was sent for the present stop, so RESUME must follow. */
  private stopTold = true;
  /** In postmigrate: `cont` may take the guest up again. */
  private mayContinue = false;
  /** The guest has reset itself, and that is not carried out yet. */
  private resetAsked = false;
  private resetAfter: { guest: boolean; reason: string } | undefined;
  private buttonAfter = false;
  /** The other side is to go on with the guest: it may have done so already. */
  private givenAway = false;
  /** The guest came by migration and has not run here: the network does not know its new place. */
  private announceDue = false;

  constructor(private readonly ports: LifecyclePorts) {
    this.states = new RunStates(ports.initial);
    this.execution = new Execution(ports);
    ports.accel.onStopped(reason => {
      if (reason.kind === 'shutdown') this.requestReset();
      else if (reason.kind === 'internal-error') this.carryOut(this.internalError(reason.message));
    });
  }

  get ram(): Ram {
    return this.ports.accel.ram;
  }

  get state(): MachineState {
    return this.states.state;
  }

  get running(): boolean {
    return this.execution.running;
  }

  get pristine(): boolean {
    return this.execution.pristine;
  }

  private get situation(): Situation {
    if (this.ending) return 'ending';
    if (this.givenAway && this.state === 'colo') return 'handing-over';
    return this.state === 'postmigrate' && !this.mayContinue ? 'gone' : this.state;
  }

  // --- the user's verbs

  async cont(): Promise<void> {
    if (this.answerToCont() === 'nothing') return;
    const elsewhere = this.state === 'postmigrate';
    const admitted = elsewhere ? this.takeImages() : this.pristine ? this.startGate() : undefined;
    if (admitted) {
      await admitted;
      this.answerToCont();
    }
    this.states.to('running');
    await this.settled();
    if (!this.wanted) return;
    if (this.execution.stopped) this.go();
    this.ports.events.emit('RESUME', {});
    this.announceIfDue();
  }

  private answerToCont(): ReturnType<typeof answerTo> {
    const answer = answerTo('cont', this.situation);
    if (this.state === 'prelaunch' && !this.ports.bootable) throw nothingToRun();
    return answer;
  }

  /** Whether the guest is to run, also when a verb changed that during an await. */
  private get wanted(): boolean {
    return this.state === 'running';
  }

  private announceIfDue(): void {
    if (!this.announceDue) return;
    this.announceDue = false;
    this.ports.announce();
  }

  async stop(): Promise<void> {
    const answer = answerTo('stop', this.situation);
    if (answer === 'nothing') return this.settled();
    if (answer === 'later') {
      if (this.resumeTo === 'running') this.resumeTo = 'paused';
      return;
    }
    this.states.to('paused');
    await this.resetting;
    await this.execution.halt();
    this.ports.events.emit('STOP', {});
  }

  /**
   * A disk keeps a failed request: the guest stands still until `cont`, which tries it again.
   * During a checkpoint this comes after it.
   */
  ioError(): void {
    if (this.held && this.resumeTo === 'running') this.resumeTo = 'io-error';
    if (this.state !== 'running') return;
    this.states.to('io-error');
    this.carryOut(this.execution.halt().then(() => this.ports.events.emit('STOP', {})));
  }

  /** `system_reset`, or the guest's own. During a checkpoint it waits for its end. */
  async reset(guest: boolean, reason: string): Promise<void> {
    if (answerTo('reset', this.situation) === 'later') {
      this.resetAfter = { guest, reason };
      return;
    }
    if (!this.ports.bootable) throw nothingToBoot();
    this.resetting ??= this.resetNow(guest, reason).finally(() => (this.resetting = undefined));
    await this.resetting;
  }

  /**
   * The ACPI power button. A device's state may change only while it runs: otherwise when it does.
   */
  powerdown(): void {
    const answer = answerTo('powerdown', this.situation);
    if (answer === 'later' || !this.running) {
      this.buttonAfter = true;
      return;
    }
    this.ports.events.emit('POWERDOWN', {});
    this.ports.board.pm.pressPowerButton();
  }

  /**
   * VmError: the network is not told that this guest is here. A primary that waits for its peer's
   * word has not run.
   */
  checkAnnounceable(): void {
    answerTo('announce', this.situation);
    if (this.pristine)
      throw new VmError('the guest has not run here yet: there is nothing to announce');
  }

  // --- what the guest does; called inside an exit, carried out after it

  requestReset(): void {
    this.resetAsked = true;
    this.ports.clock.timer(0, () => {
      if (this.ending || !this.resetAsked) return;
      this.resetAsked = false;
      if (!this.ports.bootable)
        this.ports.report(
          'the guest was reset; this VM was started without -kernel and cannot boot again, so ' +
            'it ends',
        );
      if (this.ports.noReboot || !this.ports.bootable) this.shutdown('guest-reset');
      else this.carryOut(this.reset(true, 'guest-reset'));
    });
  }

  requestShutdown(): void {
    // A checkpoint may come before the timer: what it copies is over.
    this.shutdownRequested = true;
    this.ports.clock.timer(0, () => this.shutdown('guest-shutdown'));
  }

  private shutdown(reason: ShutdownReason): void {
    if (this.ending) return;
    this.shutdownRequested = true;
    if (!this.shutdownGate()) this.ports.shutdown(reason);
  }

  private async internalError(message: string): Promise<void> {
    this.ports.report(`vCPU stopped: ${message}`);
    this.failure = `the vCPU failed: ${message}`;
    // While it is stopped for good: then it makes no difference any more.
    if (!this.states.can('internal-error')) return;
    this.states.to('internal-error');
    await this.execution.halt();
    this.ports.events.emit('STOP', {});
  }

  // --- the end

  /**
   * Called for `quit`, a signal, or a guest's shutdown. From now on every verb, those that wait
   * included, is refused because the process ends.
   */
  beginEnd(): void {
    this.ending ??= endingError();
  }

  private requireProcess(): void {
    if (this.ending) throw this.ending;
  }

  /**
   * Everything stands still and the run state says so; what follows is the machine's. A disk that
   * hangs does not keep it from ending.
   */
  async enterShutdown(): Promise<void> {
    this.states.to('shutdown');
    await this.execution
      .haltWithin()
      .catch((error: unknown) => this.ports.report(asVmError(error).message));
  }

  // --- colo

  manifest(): Manifest {
    return this.ports.manifest();
  }

  async stopForCheckpoint(): Promise<void> {
    await this.resetting;
    this.mustBeAlive();
    const { state } = this;
    if (state !== 'shutdown' && state !== 'colo') {
      this.resumeTo = state;
      this.states.to('colo');
    }
    await this.stopHeld(this.checkpointEvents);
    this.mustBeAlive(); // its end may have come while it was stopped
  }

  /** A checkpoint of a guest whose vCPUs have failed would be useless to the secondary. */
  private mustBeAlive(): void {
    this.requireProcess();
    if (this.state === 'internal-error')
      throw new VmError('the guest cannot go on: its vCPU stopped with an internal error');
  }

  giveAway(): { run: boolean } {
    if (this.resetAfter) throw new VmError('the guest is being reset');
    if (this.buttonAfter) throw new VmError('its power button is being pressed');
    if (this.shutdownRequested) throw new VmError('the guest is shutting down');
    this.givenAway = true;
    // What stands still for a disk of this host may go on with that of the other one.
    return { run: this.resumeTo === 'running' || this.resumeTo === 'io-error' };
  }

  resumeAfterCheckpoint(): void {
    this.givenAway = false;
    if (this.state === 'colo') this.resumeHeld();
  }

  goOnAfterFailover({ run }: { run: boolean }): void {
    this.requireProcess();
    if (!run) {
      this.states.to('paused');
      this.announceDue = true;
      return;
    }
    if (this.ports.startPaused) this.ports.report('-S is ignored: after a failover the guest runs');
    this.states.to('running');
    this.goWhenStopped(() => {
      this.ports.events.emit('RESUME', {});
      this.ports.announce();
    });
  }

  async haltForPeer(): Promise<void> {
    this.mayContinue = false;
    this.states.to('postmigrate');
    await this.execution.haltWithin();
  }

  finishShutdown(): void {
    this.shutdownRequested = true;
    this.ports.shutdown('guest-shutdown');
  }

  /** Stops the guest while fn looks at it. The run state stays `running`, and no event is sent. */
  async whileStopped<T>(fn: () => T): Promise<T> {
    for (;;) {
      await this.resetting;
      try {
        await this.execution.haltWithin();
        if (this.execution.stopped) return fn();
      } finally {
        if (this.state === 'running' && !this.resetting && !this.running) this.goWhenStopped();
      }
    }
  }

  // --- migration without COLO

  checkMigratable(): void {
    answerTo('migrate', this.situation);
  }

  async stopForMigration(): Promise<boolean> {
    await this.resetting;
    this.checkMigratable();
    assert(!this.held, 'one migration at a time');
    this.resumeTo = this.state;
    this.states.to('finish-migrate');
    await this.stopHeld(true);
    return this.resumeTo === 'running';
  }

  migrationFailed(): void {
    if (this.state === 'finish-migrate') this.resumeHeld();
  }

  migrationDone({ mayContinue }: { mayContinue: boolean }): void {
    if (this.state !== 'finish-migrate') return;
    this.mayContinue = mayContinue;
    this.resetAfter = undefined;
    this.states.to('postmigrate');
  }

  runAfterMigration(ran: boolean): void {
    const run = ran && !this.ports.startPaused;
    this.states.to(run ? 'running' : 'paused');
    this.announceDue = true;
    if (!run) return;
    this.goWhenStopped(() => {
      this.ports.events.emit('RESUME', {});
      this.announceIfDue();
    });
  }

  saveDevices(): Buffer {
    assert(this.execution.stopped, 'state is saved stopped');
    return this.ports.board.devices.save();
  }

  parseDevices(blob: Uint8Array): StagedDevices {
    const staged = this.ports.board.devices.parse(blob);
    return {
      apply: () => {
        this.requireProcess();
        assert(this.execution.stopped, 'state is loaded stopped');
        staged.apply();
        this.execution.stateLoaded();
      },
    };
  }

  // --- in `colo` and `finish-migrate`

  /** A checkpoint or a migration has stopped the guest, so the user's verbs must wait. */
  private get held(): boolean {
    return this.state === 'colo' || this.state === 'finish-migrate';
  }

  /** tell: whether STOP is sent for a guest that ran. */
  private async stopHeld(tell: boolean): Promise<void> {
    const ran = this.resumeTo === 'running' && !this.execution.stopped;
    this.stopTold = !ran;
    await this.execution.haltWithin();
    if (ran && tell) {
      this.stopTold = true;
      this.ports.events.emit('STOP', this.ofCheckpoint());
    }
    this.resetHeld();
  }

  /**
   * The guest stands behind an instruction that resets the machine. What is saved is the machine
   * that was reset: another process that goes on from there would not do it.
   */
  private resetHeld(): void {
    if (!this.resetAsked || this.ports.noReboot || !this.ports.bootable) return;
    this.resetAsked = false;
    this.powerCycle(true, 'guest-reset');
  }

  /**
   * Returns to the state before, or to the one that a verb asked for in between. STOP and RESUME
   * are sent in pairs, even where a checkpoint has sent one of its own.
   */
  private resumeHeld(): void {
    const { resumeTo, stopTold, resetAfter } = this;
    const data = this.ofCheckpoint();
    this.states.to(resumeTo);
    if (resumeTo === 'running')
      this.goWhenStopped(() => stopTold && this.ports.events.emit('RESUME', data));
    else if (!stopTold) this.ports.events.emit('STOP', {});
    this.stopTold = true;
    this.resetAfter = undefined;
    if (resetAfter) this.carryOut(this.reset(resetAfter.guest, resetAfter.reason));
  }

  /** The data by which a client tells a STOP or RESUME of a checkpoint from the others. */
  private ofCheckpoint(): QmpEvents['STOP'] {
    return this.state === 'colo' ? { checkpoint: true } : {};
  }

  // --- carrying it out

  /** A stop or a reset under way is complete. */
  private async settled(): Promise<void> {
    await this.resetting;
    await this.execution.settled();
  }

  private go(): void {
    this.execution.start();
    if (!this.buttonAfter) return;
    this.buttonAfter = false;
    this.powerdown();
  }

  /** At once, or when a stop that took too long is through, if the guest shall still run then. */
  private goWhenStopped(then: () => void = () => undefined): void {
    const start = () => {
      this.go();
      then();
    };
    if (this.execution.stopped) return start();
    this.carryOut(
      this.execution.settled().then(() => {
        if (this.wanted && this.execution.stopped) start();
      }),
    );
  }

  private async resetNow(guest: boolean, reason: string): Promise<void> {
    // A stop that took too long for a checkpoint: when it is through, the guest is started again
    // first.
    do await this.execution.halt();
    while (!this.execution.stopped);
    if (this.ending) return;
    this.powerCycle(guest, reason);
    if (this.state === 'shutdown' || this.state === 'internal-error') this.states.to('paused');
    if (this.wanted) this.go();
  }

  private powerCycle(guest: boolean, reason: string): void {
    this.shutdownRequested = false;
    this.failure = undefined;
    this.ports.powerCycle();
    this.ports.events.emit('RESET', { guest, reason });
  }

  /**
   * Runs work that no caller awaits. A failed operation is reported; an exception of our own ends
   * the process.
   */
  private carryOut(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.ports.report(lastFailure(thrown).message));
  }
}
