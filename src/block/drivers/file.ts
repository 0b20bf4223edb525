/**
 * Protocol `file`: a host file. A discard punches a hole, so that what was discarded reads as
 * zeroes on every replica alike.
 */
import { asVmError, type VmError } from '../../base/errors.js';
import type { Clock, Files, OpenFile } from '../../host/ports.js';
import { type BlockStatus, SECTOR } from '../contract/driver.js';
import { ioCode, ioError } from '../contract/io-error.js';
import type { ImageFile } from '../contract/roles.js';
import { defaultIntentTimes, ImageBitmap, type IntentTimes } from '../record/image-bitmap.js';
import { ImageRecord } from '../record/image-record.js';

const ZERO_STEP = 1024 * 1024;

/** intentTimes: other ones than usual, of the bitmap beside an image. */
export interface ImageHost {
  readonly files: Files;
  readonly clock: Clock;
  readonly intentTimes?: IntentTimes;
}

export interface FileOptions {
  filename: string;
  readOnly: boolean;
  lock: 'auto' | 'none';
  /** What may not be written is opened for reading. */
  autoReadOnly?: boolean;
  /** Past the host's page cache. */
  direct?: boolean;
  /** What may be written is another process's for now: activate() takes it. */
  inactive?: boolean;
}

async function openFile(files: Files, options: Omit<FileOptions, 'inactive'>): Promise<OpenFile> {
  const { filename, readOnly, lock, autoReadOnly, direct } = options;
  try {
    return await files.open(filename, { readOnly, lock, direct });
  } catch (error) {
    if (readOnly || !autoReadOnly || ioCode(error) !== 'EPERM') throw error;
    return files.open(filename, { readOnly: true, lock, direct });
  }
}

/** A last sector that is not whole reads as if zeroes followed. */
const lengthOf = async (file: OpenFile) => Math.ceil((await file.size()) / SECTOR) * SECTOR;

export class FileDriver implements ImageFile {
  /**
   * Why a flush failed. The host may have dropped the pages that it could not write: no later flush
   * can vouch for them.
   */
  private unsynced?: VmError;
  readonly format = 'file';
  readonly role = 'file';
  readonly path: string;

  /** In which regions it may differ from its peer's image. */
  readonly bitmap: ImageBitmap;

  private constructor(
    /** Ours to write, and locked. What is only read is always so. */
    public active: boolean,
    private readonly host: ImageHost,
    private readonly lock: FileOptions['lock'],
    readonly direct: boolean,
    private file: OpenFile,
    private bytes: number,
    /** What the image knows of its pair. */
    readonly record: ImageRecord,
  ) {
    this.path = file.path;
    const { files, clock, intentTimes: times = defaultIntentTimes } = host;
    this.bitmap = new ImageBitmap({ files, clock, times }, () => this.file);
    record.beforeWrite = () => this.bitmap.touch();
  }

  static async open(host: ImageHost, options: FileOptions): Promise<FileDriver> {
    const { files } = host;
    const inactive = options.inactive === true && !options.readOnly;
    const file = await openFile(files, { ...options, lock: inactive ? 'none' : options.lock });
    try {
      if (inactive && file.readOnly && options.lock === 'auto') await file.lock();
      const record = await ImageRecord.open(options.filename, file.label);
      const length = await lengthOf(file);
      const active = !inactive || file.readOnly;
      const { lock, direct = false } = options;
      const driver = new FileDriver(active, host, lock, direct, file, length, record);
      if (active) await driver.bitmap.load();
      return driver;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get length(): number {
    return this.bytes;
  }

  /** For copies from file to file. */
  get hostFile(): OpenFile {
    return this.file;
  }

  get fastZeroes(): boolean {
    return this.file.punchesHoles ?? false;
  }

  get readOnly(): boolean {
    return this.file.readOnly;
  }

  /** It is as the process that had it has left it. VmError: it is another's, and stays inactive. */
  async activate(): Promise<void> {
    if (this.active) return;
    if (this.lock === 'auto') await this.file.lock();
    try {
      this.bytes = await lengthOf(this.file);
      await this.record.reread();
      await this.bitmap.load();
      this.active = true;
    } catch (error) {
      if (this.lock === 'auto') this.file.unlock();
      throw error;
    }
  }

  /** Another process may have it from here on. Nothing is being written; all is on the medium. */
  async inactivate(): Promise<void> {
    if (this.readOnly) return;
    this.active = false;
    await this.bitmap.release();
    if (this.lock === 'auto') this.file.unlock();
  }

  private requireActive(): void {
    if (this.active) return;
    throw ioError(
      'EPERM',
      `image '${this.path}' is not this process's to write while the guest is elsewhere`,
    );
  }

  /** The locks of the old opening would keep the new one out, so it goes first. */
  async reopen(readOnly: boolean): Promise<void> {
    if (readOnly === this.readOnly) return;
    this.requireActive();
    const { path, lock, direct } = this;
    const { files } = this.host;
    // may we at all?
    if (!readOnly) await (await files.open(path, { readOnly, lock: 'none' })).close();
    await this.file.close();
    this.file = await files
      .open(path, { readOnly, lock, direct })
      .catch(async (error: unknown) => {
        this.file = await files.open(path, { readOnly: true, lock, direct });
        throw error;
      })
      .finally(() => this.record.moveTo(this.file.label));
  }

  async resize(length: number): Promise<void> {
    this.requireActive();
    await this.bitmap.resized('file');
    await this.file.truncate(length);
    this.bytes = length;
  }

  intend(offset: number, length: number): Promise<void> | undefined {
    return this.bitmap.intend('file', offset, length);
  }

  async pread(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    const buffer = into ? into.subarray(0, length) : Buffer.allocUnsafe(length);
    const got = await this.file.pread(buffer, offset);
    if (got < length) buffer.fill(0, got);
    return buffer;
  }

  async pwrite(offset: number, data: Uint8Array, fua: boolean): Promise<void> {
    this.requireActive();
    await this.file.pwrite(data, offset);
    if (fua) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.unsynced) throw this.unsynced;
    try {
      await this.file.fdatasync();
    } catch (error) {
      this.unsynced = ioError(
        'EIO',
        `an earlier flush of '${this.path}' failed (${asVmError(error).message}): what was ` +
          'written before may be lost',
      );
      throw error;
    }
  }

  discard(offset: number, length: number): Promise<void> {
    return this.writeZeroes(offset, length);
  }

  /** A file system without holes gets zeroes instead: the content is the same. */
  async writeZeroes(offset: number, length: number): Promise<void> {
    this.requireActive();
    if (offset + length <= (await this.file.size())) {
      try {
        return await this.file.punchHole(offset, length);
      } catch {
        // falls through to plain zeroes
      }
    }
    const zeroes = Buffer.alloc(Math.min(length, ZERO_STEP));
    for (let at = 0; at < length; at += ZERO_STEP)
      await this.file.pwrite(zeroes.subarray(0, Math.min(ZERO_STEP, length - at)), offset + at);
  }

  /** A hole reads as zeroes. Its ends need not be those of sectors. */
  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const data = this.file.dataAt
      ? this.file.dataAt(offset)
      : { start: offset, end: offset + length };
    const end = offset + length;
    if (!data || data.start >= end) return { length, allocated: false, zero: true };
    const start = data.start - (data.start % SECTOR);
    if (start > offset) return { length: start - offset, allocated: false, zero: true };
    return {
      length: Math.min(end, Math.ceil(data.end / SECTOR) * SECTOR) - offset,
      allocated: true,
      zero: false,
    };
  }

  async close(): Promise<void> {
    await this.bitmap.close().catch(() => undefined);
    return this.file.close();
  }

  describe() {
    return { filename: this.path, marked: this.record.partial };
  }
}
