/**
 * A named bitmap in the hands of a job: what it marked goes into the job's own, new writes are
 * noted in it as ever, and at the end it has both or only those.
 */
import type { NamedBitmap } from '../bitmaps/named-bitmaps.js';
import { DirtyBitmap } from '../bitmaps/dirty-bitmap.js';

export const bitmapModes = ['on-success', 'never', 'always'] as const;

export class BitmapLoan {
  private taken?: DirtyBitmap;

  constructor(
    private readonly named: NamedBitmap,
    private readonly todo: DirtyBitmap,
    /** When it forgets what was copied. */
    private readonly mode: (typeof bitmapModes)[number],
    private readonly user: string,
  ) {}

  claim(): void {
    this.named.busy = this.user;
  }

  /** The moment from which on writes belong to the next job. */
  take(): void {
    const { bits } = this.named;
    this.todo.merge(bits);
    this.taken = new DirtyBitmap(bits.length, bits.granularity);
    this.taken.merge(bits);
    if (this.mode !== 'never') bits.clearAll();
  }

  /**
   * done: everything that was marked has been copied; else what was not, or by its mode all of it,
   * is marked again.
   */
  settle(done: boolean): void {
    const { bits } = this.named;
    if (!done && this.taken) bits.merge(this.mode === 'always' ? this.todo : this.taken);
    this.named.busy = undefined;
  }
}
