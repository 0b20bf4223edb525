/**
 * Where a migration stands: the words of query-migrate, the moves that exist between them, and what
 * has been transferred.
 */
import { assert } from '../base/errors.js';
import type { Events } from '../base/events.js';
import { event, tracer } from '../base/trace.js';
import type { MigrationStatus, QmpEvents } from '../qapi/types.js';
import { Throughput } from './throughput.js';
import { PAGE_BYTES } from './pages.js';

const trace = tracer('migrate', {
  set_state: event<{ from: string; to: string }>(),
});

/**
 * From a state to those that may follow. A new attempt starts again from any state that is over.
 */
const moves: Readonly<Partial<Record<MigrationStatus, readonly MigrationStatus[]>>> = {
  none: ['setup', 'active'],
  setup: ['active', 'cancelling', 'failed'],
  active: ['device', 'colo', 'completed', 'cancelling', 'failed'],
  device: ['completed', 'cancelling', 'failed'],
  colo: ['completed', 'failed'],
  cancelling: ['cancelled'],
  cancelled: ['setup', 'active'],
  completed: ['setup', 'active'],
  failed: ['setup', 'active'],
};
const over: readonly MigrationStatus[] = ['colo', 'completed', 'failed', 'cancelled'];

/** Counts of one migration, as they grow. */
interface Counters {
  /** RAM bytes as they went over the wire. */
  transferredBytes: number;
  /** Sent with data, and as zeroes. */
  normalPages: number;
  zeroPages: number;
  /** Of this pass, or known to be dirty; not sent yet. */
  remainingPages: number;
  /** At the beginning of this pass. */
  dirtyPages: number;
  passes: number;
  /** Pages dirtied in a second, by the last pass. */
  dirtyRate: number;
  setupMs: number | undefined;
  downtimeMs: number | undefined;
  expectedDowntimeMs: number | undefined;
}
const fresh = (): Counters => ({
  transferredBytes: 0,
  normalPages: 0,
  zeroPages: 0,
  remainingPages: 0,
  dirtyPages: 0,
  passes: 0,
  dirtyRate: 0,
  setupMs: undefined,
  downtimeMs: undefined,
  expectedDowntimeMs: undefined,
});

export interface MigrationData extends Counters {
  status: MigrationStatus;
  ramTotalBytes: number;
  /** From setup until the first complete state, or until now. */
  totalMs: number;
  /** We send. */
  outgoing: boolean;
  /** Lately. */
  bytesPerMs: number;
  error?: string;
  /** The same would come of another attempt. */
  lasting?: boolean;
}

export class MigrationState {
  private current: MigrationStatus = 'none';
  ramTotalBytes = 0;
  private counters = fresh();
  private outgoing = false;
  private readonly throughput: Throughput;
  private error: string | undefined;
  private lasting = false;
  private startedMs = 0;
  private endedMs: number | undefined;
  private passMs = 0;
  private stoppedMs: number | undefined;

  constructor(
    private readonly events: Events<QmpEvents>,
    private readonly nowMs: () => number,
  ) {
    this.throughput = new Throughput(nowMs);
  }

  get status(): MigrationStatus {
    return this.current;
  }

  /** Why the last one failed. */
  get failure(): string | undefined {
    return this.error;
  }

  /** A migration that a new one would disturb. */
  get busy(): boolean {
    return ['setup', 'active', 'cancelling', 'colo', 'device'].includes(this.current);
  }

  /** lasting: to try again as things are changes nothing. */
  move(to: MigrationStatus, error?: string, lasting = false): void {
    assert(moves[this.current]?.includes(to), `migration state ${this.current} -> ${to}`);
    const first = !this.busy;
    trace.set_state?.({ from: this.current, to });
    this.current = to;
    if (first) this.begin(to === 'setup');
    if (to === 'active' && this.outgoing) this.counters.setupMs = this.nowMs() - this.startedMs;
    if (to === 'failed') {
      this.error = error;
      this.lasting = lasting;
    }
    if (over.includes(to)) this.end();
    this.events.emit('MIGRATION', { status: to });
  }

  /** A pass over RAM begins, with this number of pages. */
  pass(number: number, pages: number): void {
    const { counters } = this;
    const nowMs = this.nowMs();
    if (number > 1 && nowMs > this.passMs)
      counters.dirtyRate = Math.round((pages * 1000) / (nowMs - this.passMs));
    this.passMs = nowMs;
    Object.assign(counters, { passes: number, dirtyPages: pages, remainingPages: pages });
    this.events.emit('MIGRATION_PASS', { pass: number });
  }

  /** A chunk of RAM, withData of its pages not zeroes. */
  sent(bytes: number, pages: number, withData: number): void {
    const { counters } = this;
    this.received(bytes);
    counters.normalPages += withData;
    counters.zeroPages += pages - withData;
    counters.remainingPages = Math.max(0, counters.remainingPages - pages);
  }

  received(bytes: number): void {
    this.counters.transferredBytes += bytes;
    this.throughput.add(bytes);
  }

  receivedRound(): void {
    this.counters.passes++;
  }

  expect(downtimeMs: number): void {
    this.counters.expectedDowntimeMs = downtimeMs;
  }

  /** The guest stands still from now until the end. */
  stopped(): void {
    this.stoppedMs = this.nowMs();
  }

  private begin(outgoing: boolean): void {
    this.counters = fresh();
    this.throughput.reset();
    this.outgoing = outgoing;
    this.error = undefined;
    this.lasting = false;
    this.stoppedMs = undefined;
    this.passMs = this.startedMs = this.nowMs();
    this.endedMs = undefined;
  }

  private end(): void {
    const nowMs = this.nowMs();
    this.endedMs ??= nowMs;
    this.counters.remainingPages = 0;
    if (this.stoppedMs !== undefined) this.counters.downtimeMs = nowMs - this.stoppedMs;
  }

  data(): MigrationData {
    const { counters, ramTotalBytes, outgoing } = this;
    const totalMs = this.current === 'none' ? 0 : (this.endedMs ?? this.nowMs()) - this.startedMs;
    return {
      status: this.current,
      ...counters,
      ramTotalBytes,
      outgoing,
      totalMs,
      bytesPerMs: this.throughput.bytesPerMs,
      ...(this.error !== undefined && { error: this.error, lasting: this.lasting }),
    };
  }
}

export const ramBytesOf = (pages: number): number => pages * PAGE_BYTES;
