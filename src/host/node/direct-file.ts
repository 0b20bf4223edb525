/**
 * A host file past the page cache (O_DIRECT), which takes only whole blocks in aligned memory: a
 * request goes through a buffer of its own, and a piece of a block is read, changed and written
 * back. The last block of a file that does not end with a block is left to the page cache; the
 * kernel keeps the two ways in step.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { VmError } from '../../base/errors.js';
import { RangeLock } from '../../base/range-lock.js';
import type { Label, OpenFile } from '../ports.js';
import type { HostModule } from './addon.js';
import { errorCode, systemError } from './errors.js';

/** No disk's logical block is longer. */
const BLOCK = 4096;
const LONGEST = 1 << 20;

const down = (n: number) => n - (n % BLOCK);
const up = (n: number) => down(n + BLOCK - 1);

export class DirectFile implements OpenFile {
  /** A piece of a block is alone in it while it is changed; whole blocks share. */
  private readonly blocks = new RangeLock();

  private constructor(
    private readonly cached: OpenFile,
    private readonly handle: FileHandle,
    private readonly host: HostModule,
  ) {}

  /** The same inode once more, even if its name means another file by now. */
  static async beside(cached: OpenFile, fd: number, host: HostModule): Promise<DirectFile> {
    const mode = (cached.readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_DIRECT;
    const handle = await open(`/proc/self/fd/${fd}`, mode).catch((e: unknown) => {
      if (errorCode(e) !== 'EINVAL') throw systemError(`Could not open '${cached.path}'`, e);
      throw new VmError(
        `Could not open '${cached.path}': its file system cannot read and write past the page ` +
          'cache (O_DIRECT)',
        { hint: 'cache=writeback is exactly as durable.' },
      );
    });
    return new DirectFile(cached, handle, host);
  }

  get path(): string {
    return this.cached.path;
  }

  get readOnly(): boolean {
    return this.cached.readOnly;
  }

  get label(): Label {
    return this.cached.label;
  }

  get punchesHoles(): boolean | undefined {
    return this.cached.punchesHoles;
  }

  size(): Promise<number> {
    return this.cached.size();
  }

  async changedUs(): Promise<number | undefined> {
    return this.cached.changedUs?.();
  }

  async pread(buffer: Uint8Array, offset: number): Promise<number> {
    for (let done = 0; done < buffer.length;) {
      const start = down(offset + done);
      const skipped = offset + done - start;
      const blocks = this.aligned(Math.min(up(skipped + buffer.length - done), LONGEST));
      const got = Math.min((await this.read(blocks, start)) - skipped, buffer.length - done);
      if (got <= 0) return done;
      buffer.set(blocks.subarray(skipped, skipped + got), done);
      done += got;
    }
    return buffer.length;
  }

  async pwrite(buffer: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < buffer.length;) {
      const at = offset + done;
      const whole = at % BLOCK === 0 ? Math.min(down(buffer.length - done), LONGEST) : 0;
      const length = whole || Math.min(down(at) + BLOCK - at, buffer.length - done);
      const piece = buffer.subarray(done, done + length);
      await this.blocks.run(
        down(at),
        up(at + length) - down(at),
        whole ? 'shared' : 'exclusive',
        () => (whole ? this.writeBlocks(piece, at) : this.changeBlock(piece, at)),
      );
      done += length;
    }
  }

  lock(): Promise<void> {
    return this.cached.lock();
  }

  unlock(): void {
    this.cached.unlock();
  }

  fdatasync(): Promise<void> {
    return this.cached.fdatasync();
  }

  truncate(size: number): Promise<void> {
    return this.blocks.runAll('exclusive', () => this.cached.truncate(size));
  }

  punchHole(offset: number, length: number): Promise<void> {
    return this.blocks.run(down(offset), up(offset + length) - down(offset), 'exclusive', () =>
      this.cached.punchHole(offset, length),
    );
  }

  allocate(offset: number, length: number): Promise<void> | undefined {
    return this.cached.allocate?.(offset, length);
  }

  dataAt(offset: number): { start: number; end: number } | undefined {
    return this.cached.dataAt?.(offset);
  }

  async close(): Promise<void> {
    await this.handle.close();
    await this.cached.close();
  }

  private async changeBlock(piece: Uint8Array, at: number): Promise<void> {
    const start = down(at);
    if (start + BLOCK > (await this.cached.size())) return this.cached.pwrite(piece, at);
    const block = this.aligned(BLOCK);
    await this.read(block, start);
    block.set(piece, at - start);
    await this.write(block, start);
  }

  private writeBlocks(piece: Uint8Array, at: number): Promise<void> {
    const blocks = this.aligned(piece.length);
    blocks.set(piece);
    return this.write(blocks, at);
  }

  /** Fewer bytes than asked only at the end of the file. */
  private async read(blocks: Buffer, offset: number): Promise<number> {
    let done = 0;
    while (done < blocks.length) {
      const { bytesRead } = await this.attempt(
        'read',
        this.handle.read(blocks, done, blocks.length - done, offset + done),
      );
      done += bytesRead;
      if (bytesRead === 0 || bytesRead % BLOCK !== 0) break;
    }
    return done;
  }

  private async write(blocks: Buffer, offset: number): Promise<void> {
    for (let done = 0; done < blocks.length;) {
      done += (
        await this.attempt(
          'write',
          this.handle.write(blocks, done, blocks.length - done, offset + done),
        )
      ).bytesWritten;
    }
  }

  private aligned(length: number): Buffer {
    const room = Buffer.allocUnsafeSlow(length + BLOCK);
    const start = (BLOCK - this.host.pageOffset(room)) % BLOCK;
    return room.subarray(start, start + length);
  }

  private attempt<T>(action: string, promise: Promise<T>): Promise<T> {
    return promise.catch((e: unknown) => {
      throw systemError(`Could not ${action} '${this.path}' past the page cache`, e);
    });
  }
}
