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
 *   inmigrate --runAfterMigration, runAfterFailover--> running, paused
 *
 * A checkpoint and the end of a migration go back to the state that they found, or to what was
 * asked for meanwhile. From each state: enterShutdown --> shutdown, haltForPeer --> postmigrate
 * without a way back, a vCPU that fails --> internal-error. A reset leaves shutdown and internal-
 * error for paused. beginEnd leaves the state as it is and refuses every verb from then on.
 */
import type { Ram } from '../accel/contract.js';
import { asVmError, assert, lastFailure, VmError } from '../base/errors.js';
import type { Events } from '../base/events.js';
import type { Lifecycle, Manifest, StagedDevices } from '../colo/contract.js';
import type { AcpiPm } from '../hw/acpi/pm.js';
import type { DeviceSet } from '../hw/device-set.js';
import type { QmpEvents } from '../qapi/types.js';
import { Execution, type ExecutionParts } from './execution.js';
import { type MachineState, RunStates } from './run-state.js';
import { answerTo, endingError, type Situation } from './verbs.js';

type ShutdownReason = 'guest-shutdown' | 'guest-reset';

export interface LifecycleParts extends ExecutionParts {
  readonly board: { readonly devices: DeviceSet; readonly pm: Pick<AcpiPm, 'pressPowerButton'> };
  readonly events: Events<QmpEvents>;
  readonly initial: MachineState;
  /** -S: what comes by migration stays stopped. */
  readonly startPaused: boolean;
  manifest(): Manifest;
  /** Power cycle: chips, devices, RAM. Called with everything stopped. */
  powerCycle(): void;
  /** The machine is over, unless the user keeps it (-no-shutdown). */
  shutdown(reason: ShutdownReason): void;
  /**
   * The network learns the guest's new place: after a failover, or when it goes on after it came by
   * migration.
   */
  announce(): void;
  readonly noReboot: boolean;
  /** There is a kernel to boot again. A secondary may have been started without. */
  readonly bootable: boolean;
  report(line: string): void;
}

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
   * Asked before a guest that was on its way elsewhere goes on here: its images are this process's
   * when it resolves; a VmError says why not.
   */
  takeImages: () => Promise<void> = () => Promise.resolve();
  /** Why no verb has the guest run, or move, any more: its process is being ended. */
  ending: VmError | undefined;
  /** Why the vCPUs stopped for good; a reset mends it. */
  failure: string | undefined;
  /** The guest asked for its shutdown, or the user did; a reset forgets it. */
  shutdownRequested = false;
  private readonly execution: Execution;
  private resetting: Promise<void> | undefined;
  /** While in `colo` or `finish-migrate`: where to go back to, and what was asked for meanwhile. */
  private resumeTo: MachineState = 'paused';
  /** STOP was told for the stop that lasts. */
  private stopTold = true;
  /** In postmigrate: `cont` may take the guest up again. */
  private mayContinue = false;
  private resetAfter: { guest: boolean; reason: string } | undefined;
  private buttonAfter = false;
  /** The guest came by migration and has not run here: the network does not know its new place. */
  private announceDue = false;

  constructor(private readonly parts: LifecycleParts) {
    this.states = new RunStates(parts.initial);
    this.execution = new Execution(parts);
    parts.accel.onStopped(reason => {
      if (reason.kind === 'shutdown') this.requestReset();
      else if (reason.kind === 'internal-error') this.carryOut(this.internalError(reason.message));
    });
  }

  get ram(): Ram {
    return this.parts.accel.ram;
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
    this.parts.events.emit('RESUME', {});
    this.announceIfDue();
  }

  private answerToCont(): ReturnType<typeof answerTo> {
    const answer = answerTo('cont', this.situation);
    if (this.state === 'prelaunch' && !this.parts.bootable)
      throw new VmError('there is nothing to run: this VM was started without -kernel', {
        hint: 'Start it with -kernel, and with -initrd and -append what the kernel needs.',
      });
    return answer;
  }

  /** It is to run, also if that changed while something was awaited. */
  private get wanted(): boolean {
    return this.state === 'running';
  }

  private announceIfDue(): void {
    if (!this.announceDue) return;
    this.announceDue = false;
    this.parts.announce();
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
    this.parts.events.emit('STOP', {});
  }

  /**
   * A disk keeps a failed request: the guest stands still until `cont`, which tries it again.
   * During a checkpoint this comes after it.
   */
  ioError(): void {
    if (this.held && this.resumeTo === 'running') this.resumeTo = 'io-error';
    if (this.state !== 'running') return;
    this.states.to('io-error');
    this.carryOut(this.execution.halt().then(() => this.parts.events.emit('STOP', {})));
  }

  /** `system_reset`, or the guest's own. During a checkpoint it waits for its end. */
  async reset(guest: boolean, reason: string): Promise<void> {
    if (answerTo('reset', this.situation) === 'later') {
      this.resetAfter = { guest, reason };
      return;
    }
    if (!this.parts.bootable)
      throw new VmError('this VM was started without -kernel: it cannot boot again', {
        hint: 'Start it with -kernel, -initrd and -append; a secondary with those of its primary.',
      });
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
    this.parts.events.emit('POWERDOWN', {});
    this.parts.board.pm.pressPowerButton();
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
    this.parts.clock.timer(0, () => {
      if (this.ending) return;
      if (!this.parts.bootable)
        this.parts.report(
          'the guest was reset; this VM was started without -kernel and cannot boot again, so ' +
            'it ends',
        );
      if (this.parts.noReboot || !this.parts.bootable) this.shutdown('guest-reset');
      else this.carryOut(this.reset(true, 'guest-reset'));
    });
  }

  requestShutdown(): void {
    this.parts.clock.timer(0, () => this.shutdown('guest-shutdown'));
  }

  private shutdown(reason: ShutdownReason): void {
    if (this.ending) return;
    this.shutdownRequested = true;
    if (!this.shutdownGate()) this.parts.shutdown(reason);
  }

  private async internalError(message: string): Promise<void> {
    this.parts.report(`vCPU stopped: ${message}`);
    this.failure = `the vCPU failed: ${message}`;
    // While it is stopped for good: then it makes no difference any more.
    if (!this.states.can('internal-error')) return;
    this.states.to('internal-error');
    await this.execution.halt();
    this.parts.events.emit('STOP', {});
  }

  // --- the end

  /**
   * `quit`, a signal, or the guest's last word: whatever still waits, and whatever is asked from
   * here on, finds the process going. Its end follows.
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
      .catch((error: unknown) => this.parts.report(asVmError(error).message));
  }

  // --- colo

  manifest(): Manifest {
    return this.parts.manifest();
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

  /** A guest that cannot go on is no state for anybody to go on from. */
  private mustBeAlive(): void {
    this.requireProcess();
    if (this.state === 'internal-error')
      throw new VmError('the guest cannot go on: its vCPU stopped with an internal error');
  }

  resumeAfterCheckpoint(): void {
    if (this.state === 'colo') this.resumeHeld();
  }

  runAfterFailover(): void {
    this.requireProcess();
    if (this.parts.startPaused) this.parts.report('-S is ignored: after a failover the guest runs');
    this.states.to('running');
    this.goWhenStopped(() => {
      this.parts.events.emit('RESUME', {});
      this.parts.announce();
    });
  }

  async haltForPeer(): Promise<void> {
    this.mayContinue = false;
    this.states.to('postmigrate');
    await this.execution.haltWithin();
  }

  finishShutdown(): void {
    this.shutdownRequested = true;
    this.parts.shutdown('guest-shutdown');
  }

  /**
   * The guest stands still for as long as fn looks. It counts as running all the time, and nobody
   * is told.
   */
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
    const run = ran && !this.parts.startPaused;
    this.states.to(run ? 'running' : 'paused');
    this.announceDue = true;
    if (!run) return;
    this.goWhenStopped(() => {
      this.parts.events.emit('RESUME', {});
      this.announceIfDue();
    });
  }

  saveDevices(): Buffer {
    assert(this.execution.stopped, 'state is saved stopped');
    return this.parts.board.devices.save();
  }

  parseDevices(blob: Uint8Array): StagedDevices {
    const staged = this.parts.board.devices.parse(blob);
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

  /** Something of ours stands between the guest and its user. */
  private get held(): boolean {
    return this.state === 'colo' || this.state === 'finish-migrate';
  }

  /** tell: whether a guest that ran is seen to stop. */
  private async stopHeld(tell: boolean): Promise<void> {
    const ran = this.resumeTo === 'running' && !this.execution.stopped;
    this.stopTold = !ran;
    await this.execution.haltWithin();
    if (!ran || !tell) return;
    this.stopTold = true;
    this.parts.events.emit('STOP', this.ofCheckpoint());
  }

  /**
   * Back to where it was, or to what was asked for meanwhile. STOP and RESUME come in pairs,
   * whatever a checkpoint tells.
   */
  private resumeHeld(): void {
    const { resumeTo, stopTold, resetAfter } = this;
    const data = this.ofCheckpoint();
    this.states.to(resumeTo);
    if (resumeTo === 'running')
      this.goWhenStopped(() => stopTold && this.parts.events.emit('RESUME', data));
    else if (!stopTold) this.parts.events.emit('STOP', {});
    this.stopTold = true;
    this.resetAfter = undefined;
    if (resetAfter) this.carryOut(this.reset(resetAfter.guest, resetAfter.reason));
  }

  /** What tells such a STOP or RESUME from one that a person would want to see. */
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
    this.shutdownRequested = false;
    this.failure = undefined;
    this.parts.powerCycle();
    this.parts.events.emit('RESET', { guest, reason });
    if (this.state === 'shutdown' || this.state === 'internal-error') this.states.to('paused');
    if (this.wanted) this.go();
  }

  /** What nobody waits for: a failure is told, a mistake of ours goes to the process. */
  private carryOut(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.parts.report(lastFailure(thrown).message));
  }
}
