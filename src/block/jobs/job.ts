/**
 * The life of one job: its states and who may do what in them, pausing, cancelling, speed,
 * progress, events. It knows nothing of disks; a driver does the work and passes a pause point
 * between any two steps.
 */
import { failureOf, VmError } from '../../base/errors.js';
import type { Events } from '../../base/events.js';
import type { Clock } from '../../host/ports.js';
import type { JobStatus, JobType, QmpEvents } from '../../qapi/types.js';
import { ioCode } from '../contract/io-error.js';
import type { ErrorAction, ErrorPolicy, IoStatus } from '../contract/backend.js';
import type { JobInfo, JobOptions } from './contract.js';
import { RateLimit } from './rate-limit.js';

/** One kind of job. Every verb is called once, in this order. */
export interface JobDriver {
  readonly type: JobType;
  /** Does the work. Throws at a pause point when it was cancelled. */
  run(job: Job): Promise<void>;
  /** VmError: it cannot be completed, and why. */
  mayComplete?(): void;
  /**
   * The change that makes the result count: of the graph, of an image's header. Fails whole, or not
   * at all.
   */
  finish(job: Job): Promise<void>;
  /** Releases what the job holds. done: finish() has succeeded. */
  clean(done: boolean): Promise<void>;
}

/** What a pause point of a cancelled job throws. */
export class JobCancelled extends Error {}

export interface JobContext {
  readonly clock: Clock;
  readonly events?: Events<QmpEvents>;
  /** The job is removed: no monitor shows it any more. */
  readonly forget: (job: Job) => void;
}

const verbs: Readonly<
  Record<
    'pause' | 'resume' | 'set-speed' | 'complete' | 'cancel' | 'finalize' | 'dismiss',
    readonly JobStatus[]
  >
> = {
  pause: ['created', 'running', 'paused', 'ready', 'standby'],
  resume: ['created', 'running', 'paused', 'ready', 'standby', 'waiting', 'pending'],
  'set-speed': ['created', 'running', 'paused', 'ready', 'standby'],
  complete: ['ready', 'standby'],
  cancel: ['created', 'running', 'paused', 'ready', 'standby', 'waiting', 'pending'],
  finalize: ['pending'],
  dismiss: ['concluded'],
};

export class Job {
  private state: JobStatus = 'created';
  private done = 0;
  private left = 0;
  private io: IoStatus = 'ok';
  private failure?: VmError;
  private held = false;
  private cancelled: 'no' | 'softly' | 'at once' = 'no';
  private completing = false;
  private finalized = false;
  private waiting = false;
  private readonly limit: RateLimit;
  private readonly sleepers = new Set<() => void>();
  /** Settles when the job is over and has given back what it held. */
  readonly ended: Promise<void>;

  constructor(
    readonly driver: JobDriver,
    readonly options: JobOptions,
    private readonly context: JobContext,
  ) {
    this.limit = new RateLimit(context.clock, options.speed);
    this.emitStatus();
    this.ended = Promise.resolve().then(() => this.live());
  }

  get id(): string {
    return this.options.id;
  }

  get label(): string {
    return `block job '${this.id}' (${this.driver.type})`;
  }

  get status(): JobStatus {
    return this.state;
  }

  get error(): VmError | undefined {
    return this.failure;
  }

  /** It still holds its nodes. */
  get active(): boolean {
    return this.state !== 'concluded' && this.state !== 'null';
  }

  /**
   * For the driver: the order that a ready job was given last. Undefined: keep source and target in
   * step.
   */
  get wanted(): 'complete' | 'leave' | undefined {
    if (this.completing) return 'complete';
    return this.cancelled === 'softly' ? 'leave' : undefined;
  }

  get info(): JobInfo {
    const { id, status, options } = this;
    const { autoFinalize, autoDismiss } = options;
    const ready = status === 'ready' || status === 'standby';
    return {
      id,
      type: this.driver.type,
      status,
      len: this.done + this.left,
      offset: this.done,
      busy: this.active && !this.waiting,
      paused: this.held,
      ready,
      speed: this.limit.speed,
      ioStatus: this.io,
      autoFinalize,
      autoDismiss,
      error: this.failure?.message,
    };
  }

  // --- what is said to it

  pause(): void {
    this.mayBe('pause');
    if (this.held) throw new VmError('Job is already paused');
    this.held = true;
    this.wake();
  }

  resume(): void {
    this.mayBe('resume');
    if (!this.held) throw new VmError("Can't resume a job that was not paused");
    this.held = false;
    this.io = 'ok';
    this.wake();
  }

  setSpeed(bytesPerSecond: number): void {
    this.mayBe('set-speed');
    this.limit.setSpeed(bytesPerSecond);
    this.wake();
  }

  complete(): void {
    if (this.state === 'running' || this.state === 'paused')
      throw new VmError(`The active block job '${this.id}' cannot be completed`);
    this.mayBe('complete');
    if (this.held)
      throw new VmError(`${this.label} is paused and cannot be completed: resume it first`);
    if (this.cancelled !== 'no') throw new VmError(`${this.label} is being cancelled`);
    this.driver.mayComplete?.();
    this.completing = true;
    this.wake();
  }

  /** A job that is ready ends well, its target a copy of this moment, unless it is forced. */
  cancel(force = false): void {
    this.mayBe('cancel');
    if (this.held && !force)
      throw new VmError(`The block job for device '${this.id}' is currently paused`, {
        hint: 'Resume it, or cancel it with force.',
      });
    const ready = this.state === 'ready' || this.state === 'standby';
    if (this.cancelled === 'at once' || (this.cancelled === 'softly' && !force)) return;
    this.cancelled = ready && !force ? 'softly' : 'at once';
    if (this.cancelled === 'at once') this.held = false;
    this.wake();
  }

  finalize(): void {
    this.mayBe('finalize');
    this.finalized = true;
    this.wake();
  }

  dismiss(): void {
    this.mayBe('dismiss');
    this.enter('null');
    this.context.forget(this);
  }

  // --- for the driver

  /** There is an order to follow: the driver comes to a pause point soon. */
  get interrupted(): boolean {
    return this.held || this.cancelled === 'at once';
  }

  /** Between two steps, with nothing under way. */
  async pausePoint(): Promise<void> {
    while (this.held && this.cancelled !== 'at once') {
      if (this.state === 'running') this.enter('paused');
      if (this.state === 'ready') this.enter('standby');
      await this.doze();
    }
    if (this.cancelled === 'at once') throw new JobCancelled('the job was cancelled');
    if (this.state === 'paused') this.enter('running');
    if (this.state === 'standby') this.enter('ready');
  }

  /** Longest single step at this speed. */
  get sliceBytes(): number {
    return this.limit.sliceBytes;
  }

  /** Waits until this number of bytes may be sent. False: an order came first. */
  async admit(bytes: number): Promise<boolean> {
    while (!this.interrupted) {
      const waitMs = this.limit.take(bytes);
      if (waitMs <= 0) return true;
      await this.doze(waitMs);
    }
    return false;
  }

  /** Waits until it is woken, at most for this time. */
  async doze(limitMs?: number): Promise<void> {
    this.waiting = true;
    await new Promise<void>(resolve => {
      const timer =
        limitMs === undefined ? undefined : this.context.clock.timer(limitMs, () => wake());
      const wake = () => {
        timer?.dispose();
        this.sleepers.delete(wake);
        resolve();
      };
      this.sleepers.add(wake);
    });
    this.waiting = false;
  }

  wake(): void {
    for (const sleeper of [...this.sleepers]) sleeper();
  }

  progress(done: number, left: number): void {
    this.done = done;
    this.left = left;
  }

  becomeReady(): void {
    this.enter('ready');
    this.context.events?.emit('BLOCK_JOB_READY', this.eventBody());
  }

  /** A request failed: what to do, which is also told. */
  failed(operation: 'read' | 'write', error: unknown, policy: ErrorPolicy): ErrorAction {
    const noSpace = ioCode(error) === 'ENOSPC';
    const action = policy === 'enospc' ? (noSpace ? 'stop' : 'report') : policy;
    this.context.events?.emit('BLOCK_JOB_ERROR', { device: this.id, operation, action });
    if (action === 'stop') {
      if (this.io === 'ok') this.io = noSpace ? 'nospace' : 'failed';
      this.held = true;
      this.wake();
    }
    return action;
  }

  // --- its life

  private async live(): Promise<void> {
    let done = false;
    try {
      this.enter('running');
      await this.pausePoint();
      await this.driver.run(this);
      await this.decide();
      await this.driver.finish(this);
      done = true;
    } catch (error) {
      if (!(error instanceof JobCancelled)) this.failure = failureOf(error);
      this.enter('aborting');
    }
    await this.driver.clean(done).catch((error: unknown) => (this.failure ??= failureOf(error)));
    this.conclude(done);
  }

  /** Everything is copied. Without auto-finalize the job now waits for job-finalize. */
  private async decide(): Promise<void> {
    await this.pausePoint();
    this.enter('waiting');
    this.enter('pending');
    if (this.options.autoFinalize) return;
    this.context.events?.emit('BLOCK_JOB_PENDING', { type: this.driver.type, id: this.id });
    while (!this.finalized && this.cancelled !== 'at once') await this.doze();
    if (this.cancelled === 'at once') throw new JobCancelled('the job was cancelled');
  }

  private conclude(done: boolean): void {
    if (done || this.failure)
      this.context.events?.emit('BLOCK_JOB_COMPLETED', {
        ...this.eventBody(),
        ...(this.failure && { error: this.failure.message }),
      });
    else this.context.events?.emit('BLOCK_JOB_CANCELLED', this.eventBody());
    this.enter('concluded');
    if (this.options.autoDismiss) this.dismiss();
  }

  private eventBody() {
    return {
      type: this.driver.type,
      device: this.id,
      len: this.done + this.left,
      offset: this.done,
      speed: this.limit.speed,
    };
  }

  private enter(status: JobStatus): void {
    this.state = status;
    this.emitStatus();
  }

  private emitStatus(): void {
    this.context.events?.emit('JOB_STATUS_CHANGE', { id: this.id, status: this.state });
  }

  private mayBe(verb: keyof typeof verbs): void {
    if (!verbs[verb].includes(this.state))
      throw new VmError(
        `Job '${this.id}' in state '${this.state}' cannot accept command verb '${verb}'`,
      );
  }
}
