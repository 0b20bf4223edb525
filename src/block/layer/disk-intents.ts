/** The bitmaps of all images that one disk of this side has, as colo uses them. */
import { VmError } from '../../base/errors.js';
import { mutant } from '../../base/mutant.js';
import type { ByteProgress } from '../contract/driver.js';
import { type BlockNode, protocolOf } from '../contract/node.js';
import type { PointOfPair } from '../contract/replicated.js';
import { type Follower, type ImageFile, inRole } from '../contract/roles.js';
import type { IntentStanding } from '../record/image-bitmap.js';
import type { IntentFormat } from '../record/intent-sectors.js';
import { Regions } from '../record/regions.js';
import { answerMarked, compareMarked, type MarkedPieces } from './marked-pieces.js';

const UNSAFE = 'with cache=unsafe no bitmap holds over a loss of power';

/** A file or device of the host that holds what the guest writes for good. */
export interface DiskImage {
  readonly file: ImageFile;
  readonly format: IntentFormat;
  /** A flush does not reach the medium (cache=unsafe). */
  readonly unsafe: boolean;
}

export function imagesOf(node: BlockNode): DiskImage[] {
  const secondary = inRole('secondary', node);
  if (secondary) return imagesOf(secondary.disk);
  const quorum = inRole('quorum', node);
  if (quorum) return quorum.voters.flatMap(imagesOf);
  const protocol = protocolOf(node);
  const file = inRole('file', protocol);
  const format = isFormatted(node) ? 'qcow2' : 'raw';
  return file ? [{ file, format, unsafe: protocol.policy.noFlush === true }] : [];
}

function isFormatted(node: BlockNode): boolean {
  if (inRole('image', node)) return true;
  const below = node.children.get('file') ?? node.children.get('image');
  return below !== undefined && isFormatted(below);
}

export class DiskIntents {
  constructor(
    private readonly images: () => DiskImage[],
    private readonly disk: () => BlockNode,
  ) {}

  get length(): number {
    return this.disk().length;
  }

  /** Of points that all images share. */
  standing(): IntentStanding {
    const images = this.images();
    if (images.length === 0) return { why: 'it has no image' };
    let common: readonly string[] | undefined;
    for (const { file, unsafe } of images) {
      if (unsafe) return { why: UNSAFE };
      const found = file.bitmap.standing(file.record.value, this.length);
      if ('why' in found) return found;
      common = common ? common.filter(id => found.bases.includes(id)) : found.bases;
    }
    return common!.length > 0 ? { bases: common! } : { why: 'its images have no bitmap in common' };
  }

  marked(): Regions {
    const regions = new Regions(this.length);
    for (const { file } of this.images()) {
      const { marked } = file.bitmap;
      if (marked?.length === regions.length) regions.add(marked);
    }
    return regions;
  }

  /** Secondary. asked: untrusted. */
  answer(asked: Uint8Array, progress?: ByteProgress): Promise<Buffer> {
    return answerMarked(this.disk(), asked, this.marked(), progress);
  }

  /** Primary. answer: untrusted. */
  compare(asked: Regions, answer: Buffer, progress?: ByteProgress): Promise<MarkedPieces> {
    return compareMarked(this.disk(), asked, answer, progress);
  }

  /**
   * Primary: what is not marked here is equal at the replica, and durable on both media. VmError:
   * it cannot be kept.
   */
  async bind(point: PointOfPair, marks: Regions, follower: Follower): Promise<void> {
    await this.requireSafe();
    await Promise.all([follower.flushReplica(), this.disk().flush()]);
    const { length } = this;
    for (const { file, format } of this.images())
      await file.bitmap.bind({ ...point, format, length }, marks);
    // A write that passed the bitmap before it was there has been noted when this is through.
    await follower.forwardSource?.withRange(0, length, () => Promise.resolve());
    for (const { file } of this.images()) await file.bitmap.mark(follower.dirtyRuns());
  }

  /** Secondary: from here on the primary marks what it sends. */
  async adopt(point: PointOfPair): Promise<void> {
    await this.requireSafe();
    const { length } = this;
    for (const { file, format } of this.images())
      await file.bitmap.adopt({ ...point, format, length });
  }

  confirm(): void {
    for (const { file } of this.images()) file.bitmap.confirm();
  }

  cut(): void {
    for (const { file } of this.images()) file.bitmap.cut();
  }

  aborted(): void {
    for (const { file } of this.images()) file.bitmap.aborted();
  }

  committed(follower: Follower): void {
    for (const { file } of this.images()) {
      file.bitmap.committed(async () => {
        if (mutant('settled-without-flush')) return;
        await Promise.all([follower.flushReplica(), this.disk().flush()]);
      });
    }
  }

  alone(): void {
    for (const { file } of this.images()) file.bitmap.alone();
  }

  /** One that was kept does not count any more. */
  private async requireSafe(): Promise<void> {
    const images = this.images();
    if (images.length > 0 && !images.some(({ unsafe }) => unsafe)) return;
    for (const { file } of images) await file.bitmap.drop('it was used with cache=unsafe');
    throw new VmError(images.length > 0 ? UNSAFE : 'it has no image');
  }
}
