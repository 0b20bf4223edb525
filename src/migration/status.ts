/** Where a migration stands: the words of query-migrate, the moves that exist between them, and what has been transferred. */
import { assert } from '../base/errors.js';
import type { Events } from '../base/events.js';
import { tracer } from '../base/trace.js';
import type { MigrationStatus, QmpEvents } from '../qapi/types.js';

const trace = tracer('migrate', ['set_state']);

/** From a state to those that may follow. A new attempt starts again from any state that is over. */
const moves: Readonly<Partial<Record<MigrationStatus, readonly MigrationStatus[]>>> = {
  none: ['setup', 'active'],
  setup: ['active', 'cancelling', 'failed'],
  active: ['colo', 'cancelling', 'failed'],
  colo: ['completed', 'failed'],
  cancelling: ['cancelled'],
  cancelled: ['setup', 'active'],
  completed: ['setup', 'active'],
  failed: ['setup', 'active'],
};

export interface MigrationData {
  status: MigrationStatus;
  /** RAM bytes as they went over the wire. */
  ramTransferredBytes: number;
  ramTotalBytes: number;
  /** Pages of the last round that the guest had dirtied again. */
  dirtyPages: number;
  rounds: number;
  /** From setup until the first complete state, or until now. */
  totalMs: number;
  error?: string;
}

export class MigrationState {
  private current: MigrationStatus = 'none';
  ramTransferredBytes = 0;
  ramTotalBytes = 0;
  dirtyPages = 0;
  rounds = 0;
  private error: string | undefined;
  private startedMs = 0;
  private endedMs: number | undefined;

  constructor(
    private readonly events: Events<QmpEvents>,
    private readonly nowMs: () => number,
  ) {}

  get status(): MigrationStatus {
    return this.current;
  }

  /** A migration that a new one would disturb. */
  get busy(): boolean {
    return ['setup', 'active', 'cancelling', 'colo', 'device'].includes(this.current);
  }

  move(to: MigrationStatus, error?: string): void {
    assert(moves[this.current]?.includes(to), `migration state ${this.current} -> ${to}`);
    const fresh = !this.busy;
    trace('set_state', { from: this.current, to });
    this.current = to;
    if (fresh) this.begin();
    if (to === 'failed') this.error = error;
    if (to === 'colo' || to === 'failed' || to === 'cancelled') this.endedMs ??= this.nowMs();
    this.events.emit('MIGRATION', { status: to });
  }

  private begin(): void {
    Object.assign(this, { ramTransferredBytes: 0, ramTotalBytes: 0, dirtyPages: 0, rounds: 0 });
    this.error = undefined;
    this.startedMs = this.nowMs();
    this.endedMs = undefined;
  }

  data(): MigrationData {
    const { ramTransferredBytes, ramTotalBytes, dirtyPages, rounds } = this;
    const totalMs = this.current === 'none' ? 0 : (this.endedMs ?? this.nowMs()) - this.startedMs;
    return { status: this.current, ramTransferredBytes, ramTotalBytes, dirtyPages, rounds, totalMs, ...(this.error !== undefined && { error: this.error }) };
  }
}
