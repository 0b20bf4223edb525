/** What checkpoints cost, for `info colo`: the last 1024 of them, and totals. */

export interface CheckpointRecord {
  epoch: number;
  /** Guest stopped to guest resumed. */
  pauseMs: number;
  /** Request sent to vmstate-received: how long output waited at least. */
  receivedMs: number;
  /** Request sent to vmstate-loaded. */
  totalMs: number;
  pages: number;
  /** Of them, those whose former content the primary still had. */
  cacheHits: number;
  ramBytes: number;
  blobBytes: number;
}

const KEPT_EPOCHS = 1024;
const NEWEST_SHARE = 1 / 8;
type Measure = Exclude<keyof CheckpointRecord, 'epoch'>;

export class ColoStatistics {
  private readonly ring: CheckpointRecord[] = [];
  done = 0;
  aborted = 0;
  /** Aborts since the last whole checkpoint. */
  abortedInRow = 0;
  lastAbort: string | undefined;
  /** Of the last ones, the newest the most. */
  usualPauseMs = 0;

  add(record: CheckpointRecord): void {
    const { pauseMs } = record;
    this.usualPauseMs += (pauseMs - this.usualPauseMs) * (this.done === 0 ? 1 : NEWEST_SHARE);
    this.ring[this.done % KEPT_EPOCHS] = record;
    this.done++;
    this.abortedInRow = 0;
  }

  abort(why: string): void {
    this.aborted++;
    this.abortedInRow++;
    this.lastAbort = why;
  }

  /** Of all that are kept; 0: there is nothing to divide by. */
  ratio(measure: Measure, of: Measure): number {
    const sum = (name: Measure) => this.ring.reduce((all, record) => all + record[name], 0);
    return sum(measure) / (sum(of) || 1);
  }

  last(): CheckpointRecord | undefined {
    return this.done === 0 ? undefined : this.ring[(this.done - 1) % KEPT_EPOCHS];
  }

  /** p: 0..1, nearest rank over what is kept. */
  percentile(measure: Measure, p: number): number | undefined {
    if (this.ring.length === 0) return undefined;
    const sorted = this.ring.map(r => r[measure]).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(p * sorted.length) - 1))];
  }
}
