/** An open file of a simulated host. */
import type { Label, OpenFile } from '../../../src/host/ports.js';
import type { Inode, SimFiles } from './files.js';

export class SimFile implements OpenFile {
  readonly path: string;
  readonly readOnly: boolean;
  /** All or nothing, and durable. */
  readonly label: Label = {
    read: () => this.request('read-label', () => this.inode.label),
    write: bytes => {
      const label = bytes && Buffer.from(bytes);
      return this.request('write-label', () => {
        this.inode.label = label;
        this.changed();
      });
    },
    companion: async kind => `/.${kind}.${this.files.storage.numberOf(this.inode)}`,
  };

  constructor(
    private readonly files: SimFiles,
    { path, readOnly }: { path: string; readOnly: boolean },
    private readonly inode: Inode,
    private drop: () => void,
    private readonly take: () => () => void,
  ) {
    this.path = path;
    this.readOnly = readOnly;
  }

  lock(): Promise<void> {
    return this.request('lock', () => {
      this.drop();
      this.drop = this.take();
    });
  }

  unlock(): void {
    this.drop();
  }

  async changedUs(): Promise<number> {
    return this.inode.changedUs;
  }

  private changed(): void {
    this.inode.changedUs = Math.round(this.files.wallMs * 1000);
  }

  async size(): Promise<number> {
    return this.inode.data.length;
  }

  pread(buffer: Uint8Array, offset: number): Promise<number> {
    return this.request('pread', () => {
      const part = this.inode.data.subarray(offset, offset + buffer.length);
      buffer.set(part);
      return part.length;
    });
  }

  pwrite(buffer: Uint8Array, offset: number): Promise<void> {
    return this.request('pwrite', () => {
      this.inode.write(buffer, offset);
      this.changed();
    });
  }

  /** The name of a new file is durable with its content, as journalling file systems do it. */
  fdatasync(): Promise<void> {
    return this.request('fdatasync', () => {
      this.inode.sync();
      this.files.storage.syncNewName(this.path, this.inode);
    });
  }

  truncate(size: number): Promise<void> {
    return this.request('truncate', () => {
      this.inode.resize(size);
      this.changed();
    });
  }

  punchHole(offset: number, length: number): Promise<void> {
    return this.request('punchHole', () => {
      this.inode.fill(offset, offset + length);
      this.changed();
    });
  }

  async close(): Promise<void> {
    this.drop();
  }

  private request<T>(operation: string, body: () => T): Promise<T> {
    return this.files.request(operation, this.path, body);
  }
}
