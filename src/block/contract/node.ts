/**
 * One node of the disk graph: a driver, its name, its children and those who use it. Every request
 * enters here and is checked here: range, permission, length. Nothing can write past an interceptor
 * (copy-before-write), whoever asks.
 */
import { VmError } from '../../base/errors.js';
import type { DebugEvent } from './debug-event.js';
import { type BlockDriver, type BlockStatus, isZero } from './driver.js';
import { Gate } from './gate.js';
import { ioError } from './io-error.js';

/** A user of a node: a parent node, a guest device, an NBD export. */
export interface NodeUser {
  /** For messages: "drive 'colo-disk0'". */
  readonly label: string;
  readonly write: boolean;
  /**
   * Writers of one group do not exclude each other; undefined excludes every other writer. '*'
   * agrees with everyone, on purpose.
   */
  readonly group?: string;
}

/** Stands around every write, discard and write-zeroes of a node. */
export interface Interceptor {
  around(offset: number, length: number, write: () => Promise<void>): Promise<void>;
}

/**
 * Called for every range that may have changed, when the change is complete, whether it succeeded
 * or not.
 */
export interface Tracker {
  mark(offset: number, length: number): void;
}

/** A driver whose children may change while it is open. */
export interface Adopting {
  /** Another node on that edge (backing, children.N), or none; both are at rest. */
  replaceChild(edge: string, child: BlockNode | undefined): void;
}

export const isAdopting = (driver: BlockDriver): driver is BlockDriver & Adopting =>
  'replaceChild' in driver;

/** The changing verbs, past the interceptor: for the one who set it. */
export interface NodeWriter {
  pwrite(offset: number, data: Uint8Array, fua?: boolean): Promise<void>;
  writeZeroes(offset: number, length: number): Promise<void>;
}

/** QEMU's options of every node. */
export interface NodePolicy {
  /** Written zeroes become write-zeroes: they take no room where the driver can do without. */
  detectZeroes: boolean;
  /** ignore: what the guest no longer wants is kept all the same. */
  discard: 'ignore' | 'unmap';
  /** Of a node without children: a flush does not wait for the medium. */
  noFlush?: boolean;
}
export const defaultPolicy: NodePolicy = { detectZeroes: false, discard: 'unmap' };

export class BlockNode {
  private readonly users = new Set<NodeUser>();
  private interceptor?: Interceptor;
  /** Of jobs: around the interceptor, and around the changes that go past it. */
  private readonly hooks = new Set<Interceptor>();
  private readonly trackers = new Set<Tracker>();
  private readonly gates = { reads: new Gate<BlockNode>(), changes: new Gate<BlockNode>() };
  private closed = false;

  constructor(
    readonly name: string,
    readonly driver: BlockDriver,
    /** By edge: file, backing, children.N. A quorum's driver changes them. */
    readonly children: ReadonlyMap<string, BlockNode> = new Map(),
    readonly policy: NodePolicy = defaultPolicy,
  ) {}

  get length(): number {
    return this.driver.length;
  }

  get readOnly(): boolean {
    return this.driver.readOnly;
  }

  get userLabels(): string[] {
    return [...this.users].map(user => user.label);
  }

  get inUse(): boolean {
    return this.users.size > 0;
  }

  /**
   * Claims the node; a second writer is refused with the name of the first. Returns the way to give
   * it back.
   */
  attach(user: NodeUser): () => void {
    if (user.write && this.readOnly)
      throw new VmError(`node '${this.name}' is read-only, ${user.label} wants to write to it`);
    for (const other of this.users) {
      if (!user.write || !other.write || user.group === '*' || other.group === '*') continue;
      if (user.group !== undefined && user.group === other.group) continue;
      throw new VmError(
        `node '${this.name}' is already written to by ${other.label}, so ${user.label} cannot ` +
          'write to it',
      );
    }
    this.users.add(user);
    return () => void this.users.delete(user);
  }

  /** One at a time. Returns the way to take it out, and the way past it. */
  intercept(interceptor: Interceptor): { past: NodeWriter; release: () => void } {
    if (this.interceptor)
      throw new VmError(`the writes of node '${this.name}' are already watched`);
    this.interceptor = interceptor;
    return {
      past: {
        pwrite: (offset, data, fua = false) =>
          this.inside('changes', node =>
            node.change(offset, data.length, node.pwriter(offset, data, fua), true),
          ),
        writeZeroes: (offset, length) =>
          this.inside('changes', node =>
            node.change(
              offset,
              length,
              (at, part) => node.driver.writeZeroes(offset + at, part),
              true,
              node.maxZeroes(length),
            ),
          ),
      },
      release: () => {
        if (this.interceptor === interceptor) this.interceptor = undefined;
      },
    };
  }

  /**
   * Stands around every change, from now on and for any number of hooks. Returns the way to take it
   * out.
   */
  hook(hook: Interceptor): () => void {
    this.hooks.add(hook);
    return () => void this.hooks.delete(hook);
  }

  track(tracker: Tracker): () => void {
    this.trackers.add(tracker);
    return () => void this.trackers.delete(tracker);
  }

  /**
   * Nothing is read, or changed, while body runs; what comes waits. late: rejects when what runs
   * takes too long.
   */
  quiesce<T>(what: 'reads' | 'changes', late: Promise<never>, body: () => Promise<T>): Promise<T> {
    return this.gates[what].whileEmpty(late, body);
  }

  /**
   * Within quiesce of both: another node stands here now, and the requests that wait are its own.
   */
  sendWaiting(successor: BlockNode): void {
    this.gates.reads.send(successor);
    this.gates.changes.send(successor);
  }

  /** into: at least so long; the bytes may come there, or elsewhere. */
  pread(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    return this.inside('reads', node => node.read(offset, length, into));
  }

  private async read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    this.check(offset, length);
    const max = this.driver.maxTransfer ?? length;
    if (length <= max) return this.driver.pread(offset, length, into);
    const parts: Buffer[] = [];
    for (let at = 0; at < length; at += max)
      parts.push(await this.driver.pread(offset + at, Math.min(max, length - at)));
    return Buffer.concat(parts, length);
  }

  async pwrite(offset: number, data: Uint8Array, fua = false): Promise<void> {
    if (this.policy.detectZeroes && data.length > 0 && isZero(data)) {
      await this.writeZeroes(offset, data.length);
      return fua ? this.flush() : undefined;
    }
    return this.inside('changes', node =>
      node.change(offset, data.length, node.pwriter(offset, data, fua)),
    );
  }

  async discard(offset: number, length: number): Promise<void> {
    if (this.policy.discard === 'ignore') return this.check(offset, length);
    return this.inside('changes', node =>
      node.change(
        offset,
        length,
        (at, part) => node.driver.discard(offset + at, part),
        false,
        node.maxZeroes(length),
      ),
    );
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.inside('changes', node =>
      node.change(
        offset,
        length,
        (at, part) => node.driver.writeZeroes(offset + at, part),
        false,
        node.maxZeroes(length),
      ),
    );
  }

  /** A whole cluster, of a driver that can pack it. */
  writeCompressed(offset: number, data: Uint8Array): Promise<void> {
    return this.inside('changes', node =>
      node.change(offset, data.length, () => node.driver.writeCompressed!(offset, data)),
    );
  }

  flush(): Promise<void> {
    return this.inside('changes', async node => {
      if (node.closed) throw ioError('EIO', `node '${node.name}' is closed`);
      if (node.flushes) await node.driver.flush();
    });
  }

  /** length: a multiple of 512. */
  async resize(length: number): Promise<void> {
    if (this.closed) throw ioError('EIO', `node '${this.name}' is closed`);
    if (this.readOnly) throw ioError('EPERM', `node '${this.name}' is read-only`);
    if (this.hooks.size + this.trackers.size > 0)
      throw ioError(
        'EPERM',
        `node '${this.name}' cannot change its length: ` +
          `${this.userLabels.find(label => label.startsWith('block job')) ?? 'a dirty bitmap'} ` +
          'watches it',
      );
    if (!this.driver.resize)
      throw ioError(
        'ENOTSUP',
        `node '${this.name}' (${this.driver.format}) cannot change its length`,
      );
    await this.driver.resize(length);
  }

  /** Whether blockStatus() can tell anything but data. */
  get knowsStatus(): boolean {
    const below = this.driver.passesThrough ? this.children.get('file') : undefined;
    return below ? below.knowsStatus : this.driver.blockStatus !== undefined;
  }

  /** Zeroes cost less than data. */
  get fastZeroes(): boolean {
    const below = this.driver.passesThrough ? this.children.get('file') : undefined;
    return below ? below.fastZeroes : (this.driver.fastZeroes ?? false);
  }

  /** Through backing nodes: zero is what a reader sees. */
  blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return this.inside('reads', async node => {
      node.check(offset, length);
      // Of no bytes there is nothing to say, and a driver says something of one byte at least.
      if (length === 0 || !node.driver.blockStatus) return { length, allocated: true, zero: false };
      return node.driver.blockStatus(offset, length);
    });
  }

  /**
   * For who waits until his requests are through: nothing below keeps one back on purpose. Returns
   * the way back.
   */
  drainBegin(): () => void {
    const ends = [...this.children.values()].map(child => child.drainBegin());
    const end = this.driver.drainBegin?.();
    return () => {
      for (const undo of ends) undo();
      end?.();
    };
  }

  /** For the driver above. Costs nothing without a listener. */
  debugEvent(event: DebugEvent): void {
    this.driver.debugEvent?.(event);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.driver.close();
  }

  private get flushes(): boolean {
    return !this.policy.noFlush || this.children.size > 0;
  }

  private maxZeroes(length: number): number {
    const { maxTransfer = length, maxZeroes = maxTransfer } = this.driver;
    return maxZeroes;
  }

  private pwriter(offset: number, data: Uint8Array, fua: boolean) {
    return (at: number, length: number) =>
      this.driver.pwrite(
        offset + at,
        length === data.length ? data : data.subarray(at, at + length),
        fua && this.flushes,
      );
  }

  private async change(
    offset: number,
    length: number,
    write: (at: number, length: number) => Promise<void>,
    past = false,
    max = this.driver.maxTransfer ?? length,
  ): Promise<void> {
    this.check(offset, length);
    if (this.readOnly) throw ioError('EPERM', `node '${this.name}' is read-only`);
    let all = async () => {
      const marking = this.driver.intend?.(offset, length);
      if (marking) await marking;
      if (length <= max) return write(0, length);
      for (let at = 0; at < length; at += max) await write(at, Math.min(max, length - at));
    };
    for (const hook of past || !this.interceptor ? this.hooks : [this.interceptor, ...this.hooks]) {
      const within = all;
      all = () => hook.around(offset, length, within);
    }
    try {
      await all();
    } finally {
      for (const tracker of this.trackers) tracker.mark(offset, length);
    }
  }

  private async inside<T>(
    what: 'reads' | 'changes',
    body: (node: BlockNode) => Promise<T>,
  ): Promise<T> {
    const gate = this.gates[what];
    for (let wait = gate.enter(); wait; wait = gate.enter()) {
      const successor = await wait;
      if (successor) return successor.inside(what, body);
    }
    try {
      return await body(this);
    } finally {
      gate.leave();
    }
  }

  private check(offset: number, length: number): void {
    if (this.closed) throw ioError('EIO', `node '${this.name}' is closed`);
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw ioError('EINVAL', `node '${this.name}': bad range`);
    if (offset + length > this.length)
      throw ioError(
        'EINVAL',
        `node '${this.name}': ${length} bytes at ${offset} reach beyond its end, ${this.length}`,
      );
  }
}

/**
 * The end of a chain of 'file' children, through a filter's 'image': the protocol under a format.
 */
export function protocolOf(node: BlockNode): BlockNode {
  const below = node.children.get('file') ?? node.children.get('image');
  return below ? protocolOf(below) : node;
}
