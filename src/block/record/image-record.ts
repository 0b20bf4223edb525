/**
 * The record of one open image: read when the image is opened, written through, never over one that
 * cannot be understood. An image that holds part of an epoch without belonging to a pair (block
 * replication that was started without COLO) has a record of its own pair.
 */
import { asVmError, VmError } from '../../base/errors.js';
import type { Label } from '../../host/ports.js';
import { decodePairRecord, encodePairRecord, type PairRecord } from './pair-record.js';

/** Of an image that is written by block replication and belongs to no pair. */
export const unpaired: PairRecord = {
  pair: '00000000-0000-0000-0000-000000000000',
  generation: 1,
  branch: '0'.repeat(32),
  history: [],
  role: 'secondary',
  state: 'copying',
  partial: false,
};

export class ImageRecord {
  private turn: Promise<unknown> = Promise.resolve();
  /** The image's time of change will be another. */
  beforeWrite: () => Promise<void> | undefined = () => undefined;

  private constructor(
    /** As it was called when it was opened; for people. */
    readonly image: string,
    private label: Label,
    private now: PairRecord | undefined,
    /** Why what is there cannot be read. */
    private trouble: VmError | undefined,
  ) {}

  static async open(image: string, label: Label): Promise<ImageRecord> {
    const bytes = await label.read();
    if (bytes === undefined) return new ImageRecord(image, label, undefined, undefined);
    try {
      return new ImageRecord(image, label, decodePairRecord(bytes), undefined);
    } catch (error) {
      const { message, options } = asVmError(error);
      const hint = options.hint ?? `colo image record ${image} --clear takes it away.`;
      return new ImageRecord(
        image,
        label,
        undefined,
        new VmError(`the record of image '${image}' cannot be used: ${message}`, { hint }),
      );
    }
  }

  get value(): PairRecord | undefined {
    return this.now;
  }

  get problem(): VmError | undefined {
    return this.trouble;
  }

  get partial(): boolean {
    return this.now?.partial ?? false;
  }

  /** Another process had the image. */
  async reread(): Promise<void> {
    const there = await ImageRecord.open(this.image, this.label);
    this.now = there.now;
    this.trouble = there.trouble;
  }

  /** The image was opened anew. */
  moveTo(label: Label): void {
    this.label = label;
  }

  /** One after the other; durable when it resolves. change: sees what the write before it left. */
  write(change: (now: PairRecord | undefined) => PairRecord | undefined): Promise<void> {
    const written = this.turn.then(async () => {
      if (this.trouble) throw this.trouble;
      const next = change(this.now);
      if (next === this.now) return;
      await this.beforeWrite();
      await this.label.write(next && encodePairRecord(next)).catch((error: unknown) => {
        throw asVmError(error).during(`the record of image '${this.image}' cannot be written`);
      });
      this.now = next;
    });
    this.turn = written.catch(() => undefined);
    return written;
  }

  /** Durable before the first write of an epoch (rule 7). */
  markPartial(): Promise<void> {
    return this.write(now => ({ ...(now ?? unpaired), partial: true }));
  }

  /** The image is whole again. */
  unmarkPartial(): Promise<void> {
    return this.write(now =>
      !now?.partial ? now : now.pair === unpaired.pair ? undefined : { ...now, partial: false },
    );
  }

  /** Why this image may not be a guest's disk: rule 7, or it is the other side's copy. */
  get obstacle(): VmError | undefined {
    if (this.trouble) return this.trouble;
    const { image } = this;
    if (this.now?.partial)
      return refused(
        `image '${image}' holds part of an epoch: its process ended before it was made whole`,
        image,
      );
    if (this.now?.state === 'copying')
      return refused(
        `image '${image}' is half copied: its process ended before the copy was through`,
        image,
      );
    if (this.now?.role !== 'secondary' || this.now.state !== 'protected') return undefined;
    return new VmError(
      `image '${image}' is the secondary's copy of a protected guest (generation ` +
        `${this.now.generation}): its primary may be running`,
      {
        hint:
          'Start it with colo secondary. If its primary is gone for good: ' +
          `colo image record ${image} --claim.`,
      },
    );
  }

  /** By the user's order: the record is removed, whatever it is. */
  async clear(): Promise<void> {
    await this.label.write(undefined);
    this.now = undefined;
    this.trouble = undefined;
  }
}

const refused = (message: string, image: string) =>
  new VmError(message, {
    hint:
      'Use it as a secondary disk again, which copies what differs; or copy the image anew, ' +
      `and take the mark away: colo image record ${image} --clear.`,
  });
