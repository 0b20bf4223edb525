/**
 * Small files that several hosts share, on a local file system or on NFS. A file gets its name by
 * link(), which one of several that try at the same time can do, after all of it is durable.
 */
import { link, open, readdir, stat, unlink } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { syncFolder } from './durable-file.js';
import { errorCode, systemError } from './errors.js';
import type { RecordFolder, RecordFolders } from '../ports.js';

const PRIVATE = 0o600;
/** What a process leaves behind that ends halfway. */
const UNNAMED = '.new-';

export const nodeRecordFolders: RecordFolders = { open: path => new NodeRecordFolder(path) };

class NodeRecordFolder implements RecordFolder {
  constructor(readonly path: string) {}

  async names({ changed = false } = {}): Promise<string[]> {
    try {
      if (!changed) {
        await this.touch();
        // A name that is seen here must not be gone after a power failure.
        await syncFolder(this.path);
      }
      return (await readdir(this.path)).filter(name => !name.startsWith(UNNAMED));
    } catch (error) {
      throw systemError(`Could not list '${this.path}'`, error);
    }
  }

  /**
   * NFS: a client lists a folder from its memory until it knows that it has changed. Its own change
   * tells it so.
   */
  private async touch(): Promise<void> {
    const path = this.unnamed();
    const file = await open(path, 'wx', PRIVATE);
    await file.close();
    await unlink(path);
  }

  async read(name: string, bytesMax: number): Promise<Uint8Array | undefined> {
    const path = join(this.path, name);
    try {
      const file = await open(path, 'r');
      try {
        const buffer = Buffer.alloc(bytesMax + 1);
        let length = 0;
        for (;;) {
          const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
          length += bytesRead;
          if (bytesRead === 0 || length === buffer.length) return buffer.subarray(0, length);
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined;
      throw systemError(`Could not read '${path}'`, error);
    }
  }

  async add(name: string, bytes: Uint8Array): Promise<boolean> {
    const path = join(this.path, name);
    const fresh = this.unnamed();
    try {
      await writeWhole(fresh, bytes);
      try {
        if (!(await linked(fresh, path))) return false;
      } finally {
        await unlink(fresh);
      }
      await syncFolder(this.path);
      return true;
    } catch (error) {
      throw systemError(`Could not write '${path}'`, error);
    }
  }

  async remove(name: string): Promise<void> {
    const path = join(this.path, name);
    try {
      await unlink(path);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw systemError(`Could not remove '${path}'`, error);
    }
  }

  private unnamed(): string {
    return join(this.path, `${UNNAMED}${randomBytes(8).toString('hex')}`);
  }
}

async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', PRIVATE);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * False: another file has the name. NFS: where the answer to link() is lost, the client asks again
 * and hears EEXIST of its own link; the count of names tells.
 */
async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    return (await stat(from)).nlink === 2;
  }
}
