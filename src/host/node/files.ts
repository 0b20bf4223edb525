/** Files of the host. */
import { constants, writeSync } from 'node:fs';
import { type FileHandle, open, readFile, stat, unlink } from 'node:fs/promises';
import { VmError } from '../../base/errors.js';
import type { Files, Label, OpenFile, Replacement, UnitCopy } from '../ports.js';
import { type HostModule, hostModule } from './addon.js';
import { DirectFile } from './direct-file.js';
import { errorCode, systemError } from './errors.js';
import { lockForReading, lockForWriting, unlock } from './image-lock.js';
import { labelPorts, NodeLabel } from './label.js';
import { replacement } from './replacement.js';

/**
 * Of two that open at once each may see the other's locks before both let go: a conflict that lasts
 * is real.
 */
const LOCK_ATTEMPTS = 3;
const LOCK_PAUSE_MS = 20;
/** At most so many zeroes are written at once where a file system cannot punch holes. */
const ZEROES = Buffer.alloc(1 << 20);
/**
 * The longest transfer that the main loop does itself: it takes less time than handing it to a
 * thread and back.
 */
const AT_ONCE = 64 * 1024;

export interface FileSpeed {
  /**
   * Short writes go into the page cache on the main loop. The kernel may hold such a write up
   * (dirty pages at their limit, a journal that commits), so only a process that does nothing else
   * but serve files may ask for it; a VM has heartbeats to send.
   */
  writesAtOnce: boolean;
}

type OpenOptions = {
  readOnly: boolean;
  lock: 'auto' | 'none';
  create?: boolean;
  mode?: number;
  direct?: boolean;
  noFollow?: boolean;
};

export class NodeFiles implements Files {
  private readonly host: HostModule = hostModule();
  private readonly labels = labelPorts(this.host);

  constructor(private readonly speed: FileSpeed = { writesAtOnce: false }) {}

  async open(path: string, options: OpenOptions): Promise<OpenFile> {
    const handle = await openHandle(path, options).catch(e => {
      throw systemError(`Could not open '${path}'`, e);
    });
    try {
      const label = new NodeLabel(this.labels, handle, path);
      const file = new NodeFile(handle, this.host, path, options.readOnly, this.speed, label);
      if (options.lock === 'auto') await file.lock();
      return options.direct ? await DirectFile.beside(file, handle.fd, this.host) : file;
    } catch (e) {
      await handle.close();
      throw e;
    }
  }

  async readFile(path: string): Promise<Uint8Array> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) throw new VmError('Is a directory');
      // A device may never end.
      if (found.isCharacterDevice() || found.isBlockDevice())
        throw new VmError('Is a device, not a file');
      return await readFile(path);
    } catch (e) {
      throw systemError(`Could not read '${path}'`, e);
    }
  }

  async unlink(path: string): Promise<void> {
    return unlink(path).catch(e => {
      throw systemError(`Could not remove '${path}'`, e);
    });
  }

  replace(path: string, mode: number): Promise<Replacement> {
    return replacement(this, path, mode);
  }
}

function inUse(path: string, readOnly: boolean): VmError {
  const lock = readOnly ? 'shared "write"' : '"write"';
  return new VmError(`Failed to get ${lock} lock on '${path}'`, {
    hint: 'Is another process using the image?',
  });
}

function openHandle(
  path: string,
  { readOnly, create, mode = 0o644, noFollow }: OpenOptions,
): Promise<FileHandle> {
  if (readOnly) return open(path, constants.O_RDONLY);
  return open(
    path,
    constants.O_RDWR | (create ? constants.O_CREAT : 0) | (noFollow ? constants.O_NOFOLLOW : 0),
    mode,
  );
}

class NodeFile implements OpenFile {
  private canPunch = true;
  private knowsHoles = true;

  constructor(
    private readonly handle: FileHandle,
    private readonly host: HostModule,
    readonly path: string,
    readonly readOnly: boolean,
    private readonly speed: FileSpeed,
    readonly label: Label,
  ) {}

  get punchesHoles(): boolean {
    return this.canPunch;
  }

  async size(): Promise<number> {
    const { size } = await this.attempt('stat', this.handle.stat());
    if (size > 0) return size;
    return this.deviceSize();
  }

  async changedUs(): Promise<number | undefined> {
    const found = await this.attempt('stat', this.handle.stat({ bigint: true }));
    return found.isFile() ? Number(found.ctimeNs / 1000n) : undefined;
  }

  async pread(buffer: Uint8Array, offset: number): Promise<number> {
    let done =
      buffer.length > AT_ONCE ? 0 : Math.max(0, this.host.preadNow(this.handle.fd, buffer, offset));
    while (done < buffer.length) {
      const read = this.handle.read(buffer, done, buffer.length - done, offset + done);
      const { bytesRead } = await this.attempt('read', read);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async pwrite(buffer: Uint8Array, offset: number): Promise<void> {
    let done =
      this.speed.writesAtOnce && buffer.length <= AT_ONCE ? this.writeNow(buffer, offset) : 0;
    while (done < buffer.length) {
      const write = this.handle.write(buffer, done, buffer.length - done, offset + done);
      done += (await this.attempt('write', write)).bytesWritten;
    }
  }

  fdatasync(): Promise<void> {
    return this.attempt('flush', this.handle.datasync());
  }

  async lock(): Promise<void> {
    const { path, readOnly } = this;
    for (let attempt = 1; !this.tryLock(); attempt++) {
      if (attempt === LOCK_ATTEMPTS) throw inUse(path, readOnly);
      await new Promise(resolve => setTimeout(resolve, LOCK_PAUSE_MS));
    }
  }

  unlock(): void {
    unlock(this.host, this.handle.fd);
  }

  private tryLock(): boolean {
    const take = this.readOnly ? lockForReading : lockForWriting;
    try {
      return take(this.host, this.handle.fd);
    } catch (e) {
      throw systemError(`Could not lock '${this.path}'`, e);
    }
  }

  truncate(size: number): Promise<void> {
    return this.attempt('resize', this.handle.truncate(size));
  }

  async punchHole(offset: number, length: number): Promise<void> {
    if (length === 0) return;
    if (this.canPunch) {
      try {
        return await this.host.fallocate(this.handle.fd, 'punch-hole', offset, length);
      } catch (e) {
        if (errorCode(e) !== 'EOPNOTSUPP')
          throw systemError(`Could not discard in '${this.path}'`, e);
        this.canPunch = false;
      }
    }
    await this.writeZeroes(offset, Math.min(length, (await this.size()) - offset));
  }

  allocate(offset: number, length: number): Promise<void> {
    return this.attempt(
      'reserve room',
      length === 0
        ? Promise.resolve()
        : this.host.fallocate(this.handle.fd, 'allocate', offset, length),
    );
  }

  dataAt(offset: number): { start: number; end: number } | undefined {
    if (!this.knowsHoles) return { start: offset, end: Number.MAX_SAFE_INTEGER };
    try {
      const found = this.host.dataAt(this.handle.fd, offset);
      return found && { start: found[0], end: found[1] };
    } catch {
      // A device, or a file system that has no idea.
      this.knowsHoles = false;
      return { start: offset, end: Number.MAX_SAFE_INTEGER };
    }
  }

  copyFrom(
    source: OpenFile,
    { from, to, length, unit, packed }: UnitCopy,
  ): Promise<Uint8Array> | undefined {
    if (!(source instanceof NodeFile)) return undefined;
    return this.host
      .copyUnits(source.handle.fd, from, this.handle.fd, to, length, unit, packed)
      .catch((e: unknown) => {
        const reading = (e as NodeJS.ErrnoException).syscall === 'read';
        throw systemError(
          reading ? `Could not read '${source.path}'` : `Could not write '${this.path}'`,
          e,
        );
      });
  }

  differenceAt(
    offset: number,
    length: number,
    other?: { file: OpenFile; offset: number },
  ): Promise<number> | undefined {
    if (other && !(other.file instanceof NodeFile)) return undefined;
    const fd = other && (other.file as NodeFile).handle.fd;
    return this.attempt(
      'read',
      this.host.differenceAt(this.handle.fd, offset, fd, other?.offset ?? 0, length),
    );
  }

  close(): Promise<void> {
    return this.attempt('close', this.handle.close());
  }

  /** A failure is met again by the thread that writes the rest. */
  private writeNow(buffer: Uint8Array, offset: number): number {
    try {
      return writeSync(this.handle.fd, buffer, 0, buffer.length, offset);
    } catch {
      return 0;
    }
  }

  private async writeZeroes(offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; done += ZEROES.length) {
      await this.pwrite(ZEROES.subarray(0, Math.min(ZEROES.length, length - done)), offset + done);
    }
  }

  /**
   * A block device has no size in stat: the largest offset that can be read is found by halving.
   */
  private async deviceSize(): Promise<number> {
    if (!(await this.handle.stat()).isBlockDevice()) return 0;
    const sector = Buffer.alloc(512);
    const readable = async (at: number) =>
      (await this.handle.read(sector, 0, 512, at * 512)).bytesRead > 0;
    let low = 0;
    let high = 2 ** 40;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (await readable(middle)) low = middle + 1;
      else high = middle;
    }
    return low * 512;
  }

  private attempt<T>(action: string, promise: Promise<T>): Promise<T> {
    return promise.catch(e => {
      throw systemError(`Could not ${action} '${this.path}'`, e);
    });
  }
}
