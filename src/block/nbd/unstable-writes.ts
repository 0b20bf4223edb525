/**
 * What a server has acknowledged and may still lose with its cache: copies, until a flush has
 * covered them. After a reconnect they are written again before anything else, so that a server
 * which lost its memory meanwhile cannot take back what a guest was told.
 */

export interface UnstableWrite {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly length: number;
  readonly data?: Uint8Array;
}

const MAX_WRITES = 1024;
const MAX_BYTES = 16 * 1024 * 1024;

export class UnstableWrites {
  /** In the order of acknowledgement. */
  private writes: UnstableWrite[] = [];
  private bytes = 0;
  /** Grows with every write that was ever noted. */
  private noted = 0;

  /** Time for a flush. */
  get full(): boolean {
    return this.writes.length >= MAX_WRITES || this.bytes >= MAX_BYTES;
  }

  /** Copies the data. */
  note(write: UnstableWrite): void {
    this.writes.push({ ...write, data: write.data && Buffer.from(write.data) });
    this.bytes += write.data?.length ?? 0;
    this.noted++;
  }

  /** Taken before a flush is sent, given to flushed() when it has succeeded. */
  get mark(): number {
    return this.noted;
  }

  flushed(mark: number): void {
    const kept = this.noted - mark;
    this.writes = kept > 0 ? this.writes.slice(-kept) : [];
    this.bytes = this.writes.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
  }

  *[Symbol.iterator](): Iterator<UnstableWrite> {
    yield* this.writes;
  }
}
