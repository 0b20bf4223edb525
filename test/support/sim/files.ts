/**
 * Files of a simulated host. Content lies in inodes, names in one folder; both outlive the process.
 * What was not synced is lost with the power, sector by sector as it happens; the host may also be
 * slow, full, or fail.
 */
import { VmError } from '../../../src/base/errors.js';
import type { Files, OpenFile, Replacement } from '../../../src/host/ports.js';
import type { Random } from '../random.js';
import { SimFile } from './file.js';
import type { SimNode } from './node.js';
import type { World } from './world.js';

const unit = 4096;

export class Inode {
  data: Buffer;
  label: Uint8Array | undefined;
  /** By the clock of its host. */
  changedUs = 0;
  readonly locks = new Set<{ exclusive: boolean }>();
  /** What the medium has where that is older: by page, and the length. */
  private readonly old = new Map<number, Buffer>();
  private syncedLength: number;

  constructor(data: Uint8Array) {
    this.data = Buffer.from(data);
    this.syncedLength = data.length;
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.data.length) this.resize(end);
    for (let page = Math.floor(offset / unit); page * unit < end; page++) this.remember(page);
    this.data.set(bytes, offset);
  }

  fill(from: number, to: number): void {
    const end = Math.min(to, this.data.length);
    for (let page = Math.floor(from / unit); page * unit < end; page++) this.remember(page);
    this.data.fill(0, from, end);
  }

  resize(length: number): void {
    for (let page = Math.floor(length / unit); page * unit < this.data.length; page++)
      this.remember(page);
    const grown = Buffer.alloc(Math.max(0, length - this.data.length));
    this.data = Buffer.concat([this.data.subarray(0, length), grown]);
  }

  private remember(page: number): void {
    if (!this.old.has(page))
      this.old.set(page, Buffer.from(this.data.subarray(page * unit, (page + 1) * unit)));
  }

  sync(): void {
    this.old.clear();
    this.syncedLength = this.data.length;
  }

  /** The power goes: of each page that was not synced the old or the new content is there. */
  lose(random: Random): void {
    if (random.chance(0.5) && this.data.length !== this.syncedLength)
      this.resize(this.syncedLength);
    for (const [page, was] of this.old) {
      if (page * unit < this.data.length && random.chance(0.5))
        this.data.set(was.subarray(0, this.data.length - page * unit), page * unit);
    }
    this.sync();
  }
}

/** Whether a request fails, and how long it takes. */
export interface StorageFaults {
  latencyMs: readonly [number, number];
  /** The code that a request on this path fails with. */
  fault(operation: string, path: string): 'EIO' | 'ENOSPC' | undefined;
}

const calm: StorageFaults = { latencyMs: [0.02, 0.3], fault: () => undefined };

/** The names that the medium has, where those are others. */
type Lost = Map<string, Inode | undefined>;

export class SimStorage {
  readonly inodes = new Map<string, Inode>();
  private readonly numbers = new Map<Inode, number>();
  private readonly unsynced: Lost = new Map();
  faults: StorageFaults = calm;

  constructor(
    readonly world: World,
    readonly name: string,
  ) {}

  put(path: string, data: Uint8Array): void {
    this.inodes.set(path, new Inode(data));
  }

  numberOf(inode: Inode): number {
    const known = this.numbers.get(inode) ?? this.numbers.size + 1;
    this.numbers.set(inode, known);
    return known;
  }

  bytes(path: string): Buffer {
    return this.inodes.get(path)!.data;
  }

  calm(): void {
    this.faults = calm;
  }

  get isCalm(): boolean {
    return this.faults === calm;
  }

  /** A name gets another inode, or none; the medium learns it with the next sync of the folder. */
  rename(path: string, inode: Inode | undefined): void {
    if (!this.unsynced.has(path)) this.unsynced.set(path, this.inodes.get(path));
    if (inode) this.inodes.set(path, inode);
    else this.inodes.delete(path);
  }

  syncNames(): void {
    this.unsynced.clear();
  }

  /** A file that was made since the last sync keeps its name. */
  syncNewName(path: string, inode: Inode): void {
    if (this.inodes.get(path) === inode && this.unsynced.get(path) === undefined)
      this.unsynced.delete(path);
  }

  powerLoss(): void {
    const { random } = this.world;
    for (const [path, was] of this.unsynced) {
      if (random.chance(0.5)) continue;
      if (was) this.inodes.set(path, was);
      else this.inodes.delete(path);
    }
    this.unsynced.clear();
    for (const inode of this.inodes.values()) inode.lose(random);
  }
}

/** One process's view: its open files end with it. */
export class SimFiles implements Files {
  private readonly opened = new Set<() => void>();

  constructor(
    private readonly node: SimNode,
    readonly storage: SimStorage,
  ) {}

  get wallMs(): number {
    return this.node.clock.wallMs();
  }

  async open(
    path: string,
    options: { readOnly: boolean; lock: 'auto' | 'none'; create?: boolean },
  ): Promise<OpenFile> {
    return this.request('open', path, () => {
      if (!this.storage.inodes.has(path) && options.create)
        this.storage.rename(path, new Inode(Buffer.alloc(0)));
      const inode = this.find(path);
      return new SimFile(
        this,
        { path, readOnly: options.readOnly },
        inode,
        this.lock(path, inode, options),
        () => this.lock(path, inode, { ...options, lock: 'auto' }),
      );
    });
  }

  async readFile(path: string): Promise<Uint8Array> {
    return this.request('read', path, () => Buffer.from(this.find(path).data));
  }

  async unlink(path: string): Promise<void> {
    return this.request('unlink', path, () => {
      this.find(path);
      this.storage.rename(path, undefined);
    });
  }

  async replace(path: string): Promise<Replacement> {
    const inode = new Inode(Buffer.alloc(0));
    return {
      file: new SimFile(
        this,
        { path, readOnly: false },
        inode,
        () => undefined,
        () => () => undefined,
      ),
      keep: () =>
        this.request('rename', path, () => {
          inode.sync();
          this.storage.rename(path, inode);
          this.storage.syncNames();
        }),
      discard: () => Promise.resolve(),
    };
  }

  /** The host does it at once, when its time has come; the process hears of it when it can. */
  request<T>(operation: string, path: string, body: () => T): Promise<T> {
    const { node, storage } = this;
    const { world } = node;
    return new Promise((resolve, reject) => {
      if (node.dead) return;
      world.after(world.random.between(...storage.faults.latencyMs), () => {
        // A request that was under way when the process ended may have been carried out.
        if (node.dead && world.random.chance(0.5)) return;
        try {
          const code = storage.faults.fault(operation, path);
          if (code) throw systemError(code, `${operation} of '${path}'`);
          const value = body();
          node.deliver('input', () => resolve(value));
        } catch (error) {
          node.deliver('input', () => reject(error as Error));
        }
      });
    });
  }

  /** The process is over: the kernel gives its locks back. */
  end(clean: boolean): void {
    for (const unlock of this.opened) unlock();
    this.opened.clear();
    if (!clean) this.storage.powerLoss();
  }

  private find(path: string): Inode {
    const inode = this.storage.inodes.get(path);
    if (!inode) throw systemError('ENOENT', `'${path}'`);
    return inode;
  }

  private lock(
    path: string,
    inode: Inode,
    { readOnly, lock }: { readOnly: boolean; lock: 'auto' | 'none' },
  ): () => void {
    if (lock === 'none') return () => undefined;
    const held = { exclusive: !readOnly };
    for (const other of inode.locks) {
      if (other.exclusive || held.exclusive)
        throw new VmError(`file '${path}' is locked by another process`);
    }
    inode.locks.add(held);
    const unlock = () => {
      inode.locks.delete(held);
      this.opened.delete(unlock);
    };
    this.opened.add(unlock);
    return unlock;
  }
}

const said = {
  EIO: 'Input/output error',
  ENOSPC: 'No space left on device',
  ENOENT: 'No such file or directory',
};

function systemError(code: keyof typeof said, what: string): VmError {
  const cause = Object.assign(new Error(`${code}: ${what}`), { code });
  return new VmError(`${what}: ${said[code]}`, { cause });
}
