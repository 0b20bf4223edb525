/**
 * Running and standing still. Two layers: whether vCPUs and devices physically run, and the run
 * state that everyone sees. Stopping is asynchronous and idempotent; nothing starts before a stop
 * under way is complete. It is also what colo drives (colo/contract.ts).
 */
import type { Ram, VmAccel } from '../accel/contract.js';
import { asVmError, assert, lastFailure, VmError } from '../base/errors.js';
import type { Events } from '../base/events.js';
import type { Lifecycle, Manifest, StagedDevices } from '../colo/contract.js';
import type { Clock } from '../host/ports.js';
import type { AcpiPm } from '../hw/acpi/pm.js';
import type { DeviceSet } from '../hw/device-set.js';
import type { QmpEvents, RunState } from '../qapi/types.js';
import { RunStates } from './run-state.js';

const STOP_LIMIT_MS = 10_000;
/** A pause that no watchdog of a guest notices. */
const UNNOTICED_MS = 1000;

export interface LifecycleParts {
  readonly accel: VmAccel;
  readonly board: { readonly devices: DeviceSet; readonly pm: Pick<AcpiPm, 'pressPowerButton'> };
  readonly clock: Clock;
  readonly events: Events<QmpEvents>;
  readonly initial: RunState;
  /** -S: what comes by migration stays stopped. */
  readonly startPaused: boolean;
  /** A disk or a vCPU that does not stop within this time has the checkpoint fail, not the VM. */
  readonly stopLimitMs?: number;
  manifest(): Manifest;
  /** Power cycle: chips, devices, RAM. Called with everything stopped. */
  powerCycle(): void;
  /** The machine is over, unless the user keeps it (-no-shutdown). */
  shutDown(reason: 'guest-shutdown' | 'guest-reset'): void;
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
   * Who wants to be asked before a guest's power-off is carried out (colo sends one last
   * checkpoint): true = it will call powerOff().
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
  pristine = true;
  /** Why no verb has the guest run, or move, any more: its process is being ended. */
  ending: VmError | undefined;
  private physical: 'stopped' | 'running' | 'stopping' = 'stopped';
  private halting: Promise<void> = Promise.resolve();
  /**
   * When the vCPUs came to a halt; undefined: nobody here knows, the guest comes from elsewhere.
   */
  private heldSinceMs: number | undefined;
  private resetting: Promise<void> | undefined;
  private shutdownWanted = false;
  /** While in `colo` or `finish-migrate`: where to go back to, and what was asked for meanwhile. */
  private resumeTo: RunState = 'paused';
  /** STOP was told for the stop that lasts. */
  private stopTold = true;
  /** In postmigrate: `cont` may take the guest up again. */
  private mayContinue = false;
  private resetAfter: { guest: boolean; reason: string } | undefined;
  private buttonAfter = false;
  /** Why the vCPUs stopped for good; a reset mends it. */
  failure: string | undefined;
  /** The guest came by migration and has not run here: the network does not know its new place. */
  private announceDue = false;

  constructor(private readonly parts: LifecycleParts) {
    this.states = new RunStates(parts.initial);
    parts.accel.onStopped(reason => {
      if (reason.kind === 'shutdown') this.guestReset();
      else if (reason.kind === 'internal-error') this.carryOut(this.internalError(reason.message));
    });
  }

  get ram(): Ram {
    return this.parts.accel.ram;
  }

  get state(): RunState {
    return this.states.state;
  }

  get running(): boolean {
    return this.physical === 'running';
  }

  get shutdownRequested(): boolean {
    return this.shutdownWanted;
  }

  // --- the user's verbs

  async cont(): Promise<void> {
    this.requireProcess();
    if (this.wanted) return;
    this.checkContinue();
    const elsewhere = this.state === 'postmigrate';
    const admitted = elsewhere ? this.takeImages() : this.pristine ? this.startGate() : undefined;
    if (admitted) {
      await admitted;
      this.checkContinue();
    }
    this.states.to('running');
    await this.settled();
    if (!this.wanted) return;
    if (this.physical === 'stopped') this.go();
    this.parts.events.emit('RESUME', {});
    this.announceIfDue();
  }

  /** It is to run, also if that changed while something was awaited. */
  private get wanted(): boolean {
    return this.state === 'running';
  }

  private checkContinue(): void {
    this.requireProcess();
    const { state } = this;
    if (state === 'colo') throw new VmError('COLO checkpoint in progress');
    if (state === 'finish-migrate') throw new VmError('Migration is not finalized yet');
    if (state === 'inmigrate')
      throw new VmError(
        'the machine waits for a migration; it starts by itself when that is complete',
      );
    if (state === 'shutdown' || state === 'internal-error')
      throw new VmError('Resetting the Virtual Machine is required');
    if (state === 'prelaunch' && !this.parts.bootable)
      throw new VmError('there is nothing to run: this VM was started without -kernel', {
        hint: 'Start it with -kernel, and with -initrd and -append what the kernel needs.',
      });
    if (state === 'postmigrate' && !this.mayContinue)
      throw new VmError('the guest went on elsewhere');
  }

  private announceIfDue(): void {
    if (!this.announceDue) return;
    this.announceDue = false;
    this.parts.announce();
  }

  async stop(): Promise<void> {
    this.requireProcess();
    if (this.state === 'inmigrate') throw notHere('stops');
    if (this.held) {
      this.resumeTo = this.resumeTo === 'running' ? 'paused' : this.resumeTo;
      return;
    }
    if (this.state !== 'running') return this.settled();
    this.states.to('paused');
    await this.resetting;
    await this.halt();
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
    this.carryOut(this.halt().then(() => this.parts.events.emit('STOP', {})));
  }

  /** `system_reset`, or the guest's own. During a checkpoint it waits for its end. */
  async reset(guest: boolean, reason: string): Promise<void> {
    this.requireProcess();
    if (this.held) {
      this.resetAfter = { guest, reason };
      return;
    }
    this.requireGuest('resets');
    if (!this.parts.bootable)
      throw new VmError('this VM was started without -kernel: it cannot boot again', {
        hint: 'Start it with -kernel, -initrd and -append; a secondary with those of its primary.',
      });
    this.resetting ??= this.powerCycle(guest, reason).finally(() => (this.resetting = undefined));
    await this.resetting;
  }

  /**
   * The ACPI power button. A device's state may change only while it runs: otherwise when it does.
   */
  powerdown(): void {
    this.requireGuest('presses the power button of');
    if (this.physical !== 'running') {
      this.buttonAfter = true;
      return;
    }
    this.parts.events.emit('POWERDOWN', {});
    this.parts.board.pm.pressPowerButton();
  }

  // --- what the guest does; called inside an exit, carried out after it

  guestReset(): void {
    this.parts.clock.timer(0, () => {
      if (this.ending) return;
      if (!this.parts.bootable)
        this.parts.report(
          'the guest was reset; this VM was started without -kernel and cannot boot again, so ' +
            'it ends',
        );
      if (this.parts.noReboot || !this.parts.bootable) this.guestShutdown('guest-reset');
      else this.carryOut(this.reset(true, 'guest-reset'));
    });
  }

  guestPowerOff(): void {
    this.parts.clock.timer(0, () => this.guestShutdown('guest-shutdown'));
  }

  private guestShutdown(reason: 'guest-shutdown' | 'guest-reset'): void {
    if (this.ending) return;
    this.shutdownWanted = true;
    if (!this.shutdownGate()) this.parts.shutDown(reason);
  }

  /**
   * `quit`, a signal, or the guest's last word: whatever still waits, and whatever is asked from
   * here on, finds the process going. Its end follows.
   */
  beginEnd(): void {
    this.ending ??= new VmError('this VM is being ended');
  }

  private requireProcess(): void {
    if (this.ending) throw this.ending;
  }

  /**
   * Everything stands still and the run state says so; what follows is the machine's. A disk that
   * hangs does not keep it from ending.
   */
  async shutDown(): Promise<void> {
    this.states.to('shutdown');
    await this.haltWithin().catch((error: unknown) => this.parts.report(asVmError(error).message));
  }

  private async internalError(message: string): Promise<void> {
    this.parts.report(`vCPU stopped: ${message}`);
    this.failure = `the vCPU failed: ${message}`;
    // While it is stopped for good: then it makes no difference any more.
    if (!this.states.can('internal-error')) return;
    this.states.to('internal-error');
    await this.halt();
    this.parts.events.emit('STOP', {});
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

  /**
   * Back to where it was, or to what was asked for meanwhile. STOP and RESUME come in pairs,
   * whatever a checkpoint tells.
   */
  private resumeHeld(): void {
    const target = this.resumeTo;
    const told = this.stopTold;
    const data = this.ofCheckpoint();
    this.states.to(target);
    if (target === 'running') this.goWhenStopped(told, undefined, data);
    else if (!told) this.parts.events.emit('STOP', {});
    this.stopTold = true;
    const { resetAfter } = this;
    this.resetAfter = undefined;
    if (resetAfter) this.carryOut(this.reset(resetAfter.guest, resetAfter.reason));
  }

  /** In `colo` or `finish-migrate`: tell says whether a guest that ran is seen to stop. */
  private async stopHeld(tell: boolean): Promise<void> {
    const ran = this.resumeTo === 'running' && this.physical !== 'stopped';
    this.stopTold = !ran;
    await this.haltWithin();
    if (!ran || !tell) return;
    this.stopTold = true;
    this.parts.events.emit('STOP', this.ofCheckpoint());
  }

  /** What tells such a STOP or RESUME from one that a person would want to see. */
  private ofCheckpoint(): QmpEvents['STOP'] {
    return this.state === 'colo' ? { checkpoint: true } : {};
  }

  /**
   * The guest stands still for as long as fn looks. It counts as running all the time, and nobody
   * is told.
   */
  async whileStopped<T>(fn: () => T): Promise<T> {
    for (;;) {
      await this.resetting;
      try {
        await this.haltWithin();
        if (this.physical === 'stopped') return fn();
      } finally {
        if (this.state === 'running' && !this.resetting && this.physical !== 'running')
          this.goWhenStopped(false);
      }
    }
  }

  // --- migration without COLO

  checkMigratable(): void {
    this.requireProcess();
    if (this.state === 'inmigrate') throw new VmError('Guest is waiting for an incoming migration');
    if (this.state === 'postmigrate')
      throw new VmError("Can't migrate the vm that was paused due to previous migration", {
        hint: this.mayContinue ? 'cont takes the guest up again.' : undefined,
      });
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
    if (run) this.goWhenStopped(true, () => this.announceIfDue());
  }

  saveDevices(): Buffer {
    assert(this.physical === 'stopped', 'state is saved stopped');
    return this.parts.board.devices.save();
  }

  parseDevices(blob: Uint8Array): StagedDevices {
    const staged = this.parts.board.devices.parse(blob);
    return {
      apply: () => {
        this.requireProcess();
        assert(this.physical === 'stopped', 'state is loaded stopped');
        staged.apply();
        this.heldSinceMs = undefined;
      },
    };
  }

  runAfterFailover(): void {
    this.requireProcess();
    if (this.parts.startPaused) this.parts.report('-S is ignored: after a failover the guest runs');
    this.states.to('running');
    this.goWhenStopped(true, () => this.parts.announce());
  }

  async haltForPeer(): Promise<void> {
    this.mayContinue = false;
    this.states.to('postmigrate');
    await this.haltWithin();
  }

  powerOff(): void {
    this.shutdownWanted = true;
    this.parts.shutDown('guest-shutdown');
  }

  /** VmError: what the user asks for is for the process that has the guest. verb: "resets". */
  private requireGuest(verb: string): void {
    this.requireProcess();
    if (this.elsewhere) throw notHere(verb);
  }

  /**
   * VmError: the network is not told that this guest is here. A primary that waits for its peer's
   * word has not run.
   */
  checkAnnounceable(): void {
    this.requireGuest('announces');
    if (this.pristine)
      throw new VmError('the guest has not run here yet: there is nothing to announce');
  }

  /** Another process has the guest, or will have. */
  private get elsewhere(): boolean {
    return this.state === 'inmigrate' || (this.state === 'postmigrate' && !this.mayContinue);
  }

  /** Something of ours stands between the guest and its user. */
  private get held(): boolean {
    return this.state === 'colo' || this.state === 'finish-migrate';
  }

  // --- physical

  /** A stop or a reset under way is complete. */
  private async settled(): Promise<void> {
    await this.resetting;
    if (this.physical === 'stopping') await this.halting;
  }

  /** vCPUs first, then devices: what a vCPU started while stopping is drained too. */
  private halt(): Promise<void> {
    if (this.physical === 'running') {
      this.physical = 'stopping';
      this.halting = this.haltNow();
    }
    return this.halting;
  }

  private async haltNow(): Promise<void> {
    await this.parts.accel.stop();
    this.heldSinceMs = this.parts.clock.nowMs();
    await this.parts.board.devices.pause();
    this.physical = 'stopped';
  }

  private async haltWithin(): Promise<void> {
    const limitMs = this.parts.stopLimitMs ?? STOP_LIMIT_MS;
    let timer: { dispose(): void } | undefined;
    const late = new Promise<'late'>(
      resolve => (timer = this.parts.clock.timer(limitMs, () => resolve('late'))),
    );
    const outcome = await Promise.race([this.halt(), late]);
    timer?.dispose();
    if (outcome !== 'late') return;
    const { notStopped } = this.parts.board.devices;
    throw new VmError(
      `did not stop within ${limitMs / 1000} s: ` +
        `${notStopped.length > 0 ? notStopped.join(', ') : 'the vCPUs'}`,
    );
  }

  private go(): void {
    assert(this.physical === 'stopped', 'only what stands still can start');
    this.pristine = false;
    this.physical = 'running';
    this.parts.board.devices.resume();
    this.tellOfPause();
    this.parts.accel.start();
    if (!this.buttonAfter) return;
    this.buttonAfter = false;
    this.powerdown();
  }

  /**
   * Watchdogs of the guest would take the pause for a lockup of its own, whoever made it: `stop`, a
   * failed disk, a snapshot, a migration, a failover, a checkpoint that a slow disk held up. None
   * notices less than a second, so an ordinary checkpoint writes nothing.
   */
  private tellOfPause(): void {
    const { accel, clock } = this.parts;
    const since = this.heldSinceMs;
    if (since === undefined || clock.nowMs() - since >= UNNOTICED_MS) accel.guestStopped();
  }

  /** At once, or when a stop that took too long is through, if the guest shall still run then. */
  private goWhenStopped(
    tell: boolean,
    then: () => void = () => undefined,
    data: QmpEvents['RESUME'] = {},
  ): void {
    const start = () => {
      this.go();
      if (tell) this.parts.events.emit('RESUME', data);
      then();
    };
    if (this.physical === 'stopped') return start();
    this.carryOut(
      this.halting.then(() => {
        if (this.state === 'running' && this.physical === 'stopped') start();
      }),
    );
  }

  /** What nobody waits for: a failure is told, a mistake of ours goes to the process. */
  private carryOut(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.parts.report(lastFailure(thrown).message));
  }

  private async powerCycle(guest: boolean, reason: string): Promise<void> {
    // A stop that took too long for a checkpoint: when it is through, the guest is started again
    // first.
    do await this.halt();
    while (this.physical !== 'stopped');
    if (this.ending) return;
    this.shutdownWanted = false;
    this.failure = undefined;
    this.parts.powerCycle();
    this.parts.events.emit('RESET', { guest, reason });
    if (this.state === 'shutdown' || this.state === 'internal-error') this.states.to('paused');
    if (this.state === 'running') this.go();
  }
}

/**
 * A user's verb for a guest that is not this process's: a secondary's until it takes over, or one
 * that went on elsewhere.
 */
function notHere(verb: string): VmError {
  return new VmError(
    `there is no guest here: it runs, if it runs, in another process, whose monitor ${verb} it`,
    {
      hint: 'A secondary has its guest when it has taken over.',
    },
  );
}
