/**
 * A small simulated host for block tests: files in memory that know what is durable, streams in
 * pairs that cut their data anywhere, and a clock that moves when told.
 */
import { VmError } from '../../src/base/errors.js';
import type { Disposable } from '../../src/base/disposable.js';
import type {
  Address,
  Clock,
  Files,
  Listener,
  OpenFile,
  Sockets,
  Stream,
} from '../../src/host/ports.js';

export const turn = () => new Promise<void>(resolve => setImmediate(resolve));
export async function turns(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}

export class ManualClock implements Clock {
  private now = 0;
  private readonly timers = new Set<{ at: number; fn: () => void }>();
  nowMs = () => this.now;
  bootMs = () => this.now;
  wallMs = () => this.now;
  timer(delayMs: number, fn: () => void): Disposable {
    const entry = { at: this.now + delayMs, fn };
    this.timers.add(entry);
    return { dispose: () => void this.timers.delete(entry) };
  }
  get armed(): number {
    return this.timers.size;
  }
  async advance(ms: number): Promise<void> {
    const until = this.now + ms;
    for (;;) {
      const next = [...this.timers].filter(t => t.at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.now = Math.max(this.now, next.at);
      this.timers.delete(next);
      next.fn();
      await turn();
    }
    this.now = until;
    await turn();
  }
}

interface Inode {
  data: Buffer;
  durable: Buffer;
  label?: Uint8Array;
  locks: { exclusive: boolean }[];
}
const missing = (path: string) =>
  Object.assign(new Error(`ENOENT: no such file, '${path}'`), { code: 'ENOENT' });

export class MemoryFiles implements Files {
  readonly inodes = new Map<string, Inode>();
  /** One entry per call, `pwrite /a 0 512`. */
  readonly log: string[] = [];
  /** Awaited inside every request. */
  delay: (path?: string) => Promise<void> = () => Promise.resolve();
  /** Throws what the request shall fail with. */
  fault: (operation: string, path: string, offset: number) => void = () => undefined;

  put(path: string, data: Uint8Array): void {
    this.inodes.set(path, { data: Buffer.from(data), durable: Buffer.from(data), locks: [] });
  }
  /** Another name for the same inode; the old one is gone. */
  rename(from: string, to: string): void {
    this.inodes.set(to, this.inodes.get(from)!);
    this.inodes.delete(from);
  }
  bytes(path: string): Buffer {
    return this.inodes.get(path)!.data;
  }
  durable(path: string): Buffer {
    return this.inodes.get(path)!.durable;
  }
  async open(
    path: string,
    options: { readOnly: boolean; lock: 'auto' | 'none'; create?: boolean },
  ): Promise<OpenFile> {
    if (!this.inodes.has(path)) {
      if (!options.create) throw missing(path);
      this.put(path, new Uint8Array());
    }
    const inode = this.inodes.get(path)!;
    const lock = { exclusive: !options.readOnly };
    const unlock = () => void (inode.locks = inode.locks.filter(other => other !== lock));
    const take = () => {
      unlock();
      if (inode.locks.some(other => other.exclusive || lock.exclusive))
        throw new VmError(`file '${path}' is locked by another process`);
      inode.locks.push(lock);
    };
    if (options.lock === 'auto') take();
    return this.handle(path, inode, options.readOnly, { take, unlock });
  }
  async readFile(path: string): Promise<Uint8Array> {
    const inode = this.inodes.get(path);
    if (!inode) throw missing(path);
    return inode.data;
  }
  async unlink(path: string): Promise<void> {
    this.log.push(`unlink ${path}`);
    this.fault('unlink', path, 0);
    if (!this.inodes.delete(path)) throw missing(path);
  }
  replace(): Promise<never> {
    return Promise.reject(new VmError('no file is replaced here'));
  }
  private handle(
    path: string,
    inode: Inode,
    readOnly: boolean,
    { take, unlock }: { take: () => void; unlock: () => void },
  ): OpenFile {
    const enter = async (operation: string, offset = 0, length = 0) => {
      this.log.push(`${operation} ${path} ${offset} ${length}`);
      await this.delay(path);
      this.fault(operation, path, offset);
    };
    return {
      path,
      readOnly,
      label: {
        read: async () => {
          await enter('read-label');
          return inode.label;
        },
        // All or nothing, and durable: what fails, fails before.
        write: async bytes => {
          await enter('write-label');
          inode.label = bytes && Buffer.from(bytes);
        },
      },
      lock: async () => {
        await enter('lock');
        take();
      },
      unlock: () => {
        this.log.push(`unlock ${path}`);
        unlock();
      },
      size: async () => inode.data.length,
      pread: async (buffer, offset) => {
        await enter('pread', offset, buffer.length);
        const part = inode.data.subarray(offset, offset + buffer.length);
        buffer.set(part);
        return part.length;
      },
      pwrite: async (buffer, offset) => {
        await enter('pwrite', offset, buffer.length);
        if (offset + buffer.length > inode.data.length)
          inode.data = Buffer.concat([
            inode.data,
            Buffer.alloc(offset + buffer.length - inode.data.length),
          ]);
        inode.data.set(buffer, offset);
      },
      fdatasync: async () => {
        await enter('fdatasync');
        inode.durable = Buffer.from(inode.data);
      },
      truncate: async size => {
        inode.data = Buffer.concat([
          inode.data.subarray(0, size),
          Buffer.alloc(Math.max(0, size - inode.data.length)),
        ]);
      },
      punchHole: async (offset, length) => {
        await enter('punchHole', offset, length);
        inode.data.fill(0, offset, offset + length);
      },
      close: async () => unlock(),
    };
  }
}

/** How a write is cut on its way; the default leaves it whole. */
export type Cutter = (data: Buffer) => Buffer[];

class LoopStream implements Stream {
  other!: LoopStream;
  private data?: (bytes: Uint8Array) => void;
  private ended?: (error?: Error) => void;
  private readonly queue: Buffer[] = [];
  private paused = false;
  private closed = false;
  private finished = false;
  private delivering = false;
  /** The link eats everything and says nothing. */
  silent = false;
  /** As much as that goes out in a millisecond; nothing on 0. What waits is in our queue. */
  slow?: { clock: Clock; bytesPerMs: number };
  private freeMs = 0;
  sent = 0;

  constructor(
    readonly peer: string,
    private readonly cut: Cutter,
  ) {}
  get pending() {
    return this.other.queue.length;
  }
  get isPaused() {
    return this.paused;
  }
  async write(bytes: Uint8Array): Promise<void> {
    if (this.closed) throw new VmError('the stream is closed');
    this.sent += bytes.length;
    await this.transmission(bytes.length);
    if (!this.silent) for (const part of this.cut(Buffer.from(bytes))) this.other.arrive(part);
    await turn();
  }
  private async transmission(length: number): Promise<void> {
    const { slow } = this;
    if (!slow) return;
    if (slow.bytesPerMs === 0) return new Promise(() => undefined);
    const now = slow.clock.nowMs();
    this.freeMs = Math.max(now, this.freeMs) + length / slow.bytesPerMs;
    await new Promise<void>(resolve => void slow.clock.timer(this.freeMs - now, resolve));
  }
  onData(fn: (bytes: Uint8Array) => void) {
    this.data = fn;
    this.deliver();
  }
  onEnd(fn: (error?: Error) => void) {
    this.ended = fn;
    this.deliver();
  }
  pause() {
    this.paused = true;
  }
  resume() {
    this.paused = false;
    this.deliver();
  }
  end() {
    this.other.finish();
  }
  destroy() {
    if (this.closed) return;
    this.closed = true;
    this.queue.length = 0;
    // As a real socket: who destroys it is not told that it ends.
    this.finished = true;
    if (!this.silent) this.other.finish();
  }
  dispose() {
    this.destroy();
  }
  private arrive(part: Buffer) {
    if (this.closed || this.finished) return;
    this.queue.push(part);
    this.deliver();
  }
  private finish() {
    if (this.finished) return;
    this.finished = true;
    this.deliver();
  }
  private deliver() {
    if (this.delivering) return;
    this.delivering = true;
    setImmediate(() => {
      this.delivering = false;
      if (this.closed || !this.data || this.paused) return;
      const next = this.queue.shift();
      if (next) {
        this.data(next);
        this.deliver();
      } else if (this.finished && this.ended) {
        const ended = this.ended;
        this.ended = undefined;
        this.closed = true;
        ended();
      }
    });
  }
}

export class LoopSockets implements Sockets {
  private readonly listeners = new Map<string, (stream: Stream) => void>();
  /** Client ends, in order of connecting. */
  readonly clients: LoopStream[] = [];
  readonly servers: LoopStream[] = [];
  private port = 40000;
  constructor(private readonly cut: Cutter = data => [data]) {}

  async connect(address: Address): Promise<Stream> {
    const accept = this.listeners.get(key(address));
    if (!accept)
      throw new VmError(`${key(address)}: connection refused`, { cause: { code: 'ECONNREFUSED' } });
    const [client, server] = this.pair(key(address));
    accept(server);
    return client;
  }
  pair(name = 'loop'): [LoopStream, LoopStream] {
    const client = new LoopStream(name, this.cut);
    const server = new LoopStream('client', this.cut);
    client.other = server;
    server.other = client;
    this.clients.push(client);
    this.servers.push(server);
    return [client, server];
  }
  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    const bound: Address =
      address.kind === 'tcp' && address.port === 0 ? { ...address, port: this.port++ } : address;
    if (this.listeners.has(key(bound))) throw new VmError(`${key(bound)}: address in use`);
    this.listeners.set(key(bound), onStream);
    return { address: bound, dispose: () => void this.listeners.delete(key(bound)) };
  }
}
const key = (address: Address) =>
  address.kind === 'tcp' ? `${address.host}:${address.port}` : address.path;

export interface TestHost {
  clock: ManualClock;
  files: MemoryFiles;
  sockets: LoopSockets;
}
export function testHost(cut?: Cutter): TestHost {
  return { clock: new ManualClock(), files: new MemoryFiles(), sockets: new LoopSockets(cut) };
}

const patterns = new Map<string, Buffer>();
/** Different in every sector of a disk of 128 KiB, and never zero. A fresh copy. */
export function pattern(length: number, seed = 1): Buffer {
  const key = `${length} ${seed}`;
  let known = patterns.get(key);
  if (!known) {
    known = Buffer.alloc(length);
    for (let i = 0; i < length; i++) known[i] = ((i * 7 + (i >> 9) * 13 + seed * 31) & 0xff) | 1;
    patterns.set(key, known);
  }
  return Buffer.from(known);
}

/** toEqual of long buffers takes seconds. */
export function expectSame(got: Uint8Array, wanted: Uint8Array): void {
  if (Buffer.compare(got, wanted) === 0) return;
  let at = 0;
  while (got[at] === wanted[at]) at++;
  throw new Error(
    `differs from byte ${at}, of ${got.length} and ${wanted.length}: ` +
      `0x${got[at]?.toString(16)} where 0x${wanted[at]?.toString(16)} must stand`,
  );
}
