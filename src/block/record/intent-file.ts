/**
 * The file beside an image where its write-intent bitmap is kept (`Label.companion`). It is made
 * anew as a whole, under another name, and changed by sectors; each verb is durable when it
 * resolves.
 */
import { basename } from 'node:path';
import { asVmError, VmError } from '../../base/errors.js';
import type { Files, OpenFile } from '../../host/ports.js';
import {
  decodeIntents,
  encodeBits,
  encodeHeader,
  type IntentHeader,
  SECTOR_BYTES,
  sectorCountOf,
} from './intent-sectors.js';
import type { Regions } from './regions.js';

export type IntentFiles = Pick<Files, 'open' | 'replace' | 'unlink'>;

const NAME = 'bitmap';
const MODE = 0o600;
/** The longest that there is, and more. */
const BYTES_MAX = 64 * SECTOR_BYTES;

const isMissing = (error: unknown) =>
  (asVmError(error).cause as { code?: string } | undefined)?.code === 'ENOENT';

export class IntentFile {
  private file: OpenFile | undefined;

  constructor(
    private readonly files: IntentFiles,
    private readonly path: string,
  ) {}

  /** VmError: there is no place beside this image. */
  static async beside(files: IntentFiles, image: OpenFile): Promise<IntentFile> {
    const path = await image.label.companion?.(NAME);
    if (path === undefined) throw new VmError('nothing can be kept beside this image');
    return new IntentFile(files, path);
  }

  /** How the image is called by its file system. */
  get image(): string {
    return basename(this.path).slice(-64);
  }

  /** undefined: there is none. VmError: in it is nothing to go by, and why. */
  async read(): Promise<{ header: IntentHeader; regions: Regions } | undefined> {
    const file = await this.files
      .open(this.path, { readOnly: true, lock: 'none' })
      .catch((error: unknown) => {
        if (isMissing(error)) return undefined;
        throw error;
      });
    if (!file) return undefined;
    try {
      const bytes = Buffer.alloc(BYTES_MAX);
      return decodeIntents(bytes.subarray(0, await file.pread(bytes, 0)));
    } finally {
      await file.close();
    }
  }

  /** In the place of what was there; until it resolves that one counts. */
  async create(header: IntentHeader, regions: Regions): Promise<void> {
    const sectors = [encodeHeader(header)];
    for (let n = 0; n < sectorCountOf(regions); n++)
      sectors.push(encodeBits(header.instance, n, regions));
    await this.replaceBy(Buffer.concat(sectors));
  }

  /** The header, if it is given, and these sectors of bits. */
  async change(
    header: IntentHeader | undefined,
    { instance }: IntentHeader,
    sectors: Iterable<number>,
    regions: Regions,
  ): Promise<void> {
    const writes = [...sectors].map(n => ({ n: n + 1, data: encodeBits(instance, n, regions) }));
    if (header) writes.push({ n: 0, data: encodeHeader(header) });
    const file = await this.opened();
    await Promise.all(writes.map(({ n, data }) => file.pwrite(data, n * SECTOR_BYTES)));
    await file.fdatasync();
  }

  /** What is there says that it counts no more. In place if that can be, for it needs no room. */
  async invalidate(header: IntentHeader): Promise<void> {
    try {
      const file = await this.opened();
      await file.pwrite(encodeHeader(header), 0);
      await file.fdatasync();
    } catch (error) {
      if (isMissing(error)) return;
      await this.replaceBy(encodeHeader(header));
    }
  }

  async remove(): Promise<void> {
    await this.close();
    await this.files.unlink(this.path).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }

  async close(): Promise<void> {
    const { file } = this;
    this.file = undefined;
    await file?.close();
  }

  private async opened(): Promise<OpenFile> {
    return (this.file ??= await this.files.open(this.path, { readOnly: false, lock: 'none' }));
  }

  private async replaceBy(bytes: Buffer): Promise<void> {
    await this.close();
    const fresh = await this.files.replace(this.path, MODE);
    try {
      await fresh.file.pwrite(bytes, 0);
      await fresh.file.fdatasync();
      await fresh.keep();
    } catch (error) {
      await fresh.discard();
      throw error;
    } finally {
      await fresh.file.close();
    }
  }
}
