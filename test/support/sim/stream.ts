/** One end of a simulated connection: bytes in order, in any pieces, within a window. */
import type { HeartbeatOptions, Stream } from '../../../src/host/ports.js';
import { SimHeartbeat } from './heartbeat.js';
import { netError, type SimNetwork } from './network.js';
import type { SimNode } from './node.js';

const windowBytes = 48 * 1024;

interface Waiter {
  upTo: number;
  resolve(): void;
  reject(e: Error): void;
}

export class SimStream implements Stream {
  other!: SimStream;
  cutAt = Infinity;
  readonly peer: string;
  readonly port: number;
  private beats: SimHeartbeat | undefined;
  private sentBytes = 0;
  private consumedByOther = 0;
  private readonly waiters: Waiter[] = [];
  private readonly inFlight: (() => void)[] = [];
  private readonly arrived: Buffer[] = [];
  private dataFn: ((b: Uint8Array) => void) | undefined;
  private endFn: ((e?: Error) => void) | undefined;
  private endPending: { error?: Error } | undefined;
  private ended = false;
  private held = false;
  private closed = false;

  constructor(
    private readonly network: SimNetwork,
    private readonly node: SimNode,
    { peer, port }: { peer: string; port: number },
  ) {
    this.peer = peer;
    this.port = port;
  }

  get from(): string {
    return this.node.name;
  }

  get pending(): number {
    return Math.max(0, this.sentBytes - this.consumedByOther - windowBytes);
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.closed || this.node.dead || this.endPending?.error) {
      return Promise.reject(this.endPending?.error ?? new Error('write after the end'));
    }
    let data = Buffer.from(bytes);
    this.network.onWrite(this, data);
    const cut = this.sentBytes + data.length > this.cutAt;
    if (cut) data = data.subarray(0, Math.max(0, this.cutAt - this.sentBytes));
    this.spoil(data);
    this.sentBytes += data.length;
    const { random } = this.network.world;
    for (let at = 0; at < data.length;) {
      const n = random.chance(0.8) ? data.length - at : 1 + random.below(data.length - at);
      const piece = data.subarray(at, at + n);
      this.transmit(() => this.other.arrive(piece));
      at += n;
    }
    if (cut) this.reset();
    return this.room();
  }

  heartbeat(options: HeartbeatOptions): SimHeartbeat {
    return (this.beats = new SimHeartbeat(
      this.network,
      this.node,
      options,
      () => this.other.beats,
    ));
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.dataFn = fn;
    this.flow();
  }

  onEnd(fn: (error?: Error) => void): void {
    this.endFn = fn;
    this.flow();
  }

  pause(): void {
    this.held = true;
  }

  resume(): void {
    this.held = false;
    this.flowSoon();
  }

  end(): void {
    this.transmit(() => this.other.finish());
  }

  dispose(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.closed || this.node.dead) return;
    this.close(this.network.world.random.chance(0.5));
  }

  die(clean: boolean): void {
    if (this.closed) return;
    if (clean) this.close(this.network.world.random.chance(0.5));
    else this.closed = true;
    this.network.forget(this);
  }

  /** abrupt: with a reset, which may overtake what is on its way. */
  private close(abrupt: boolean): void {
    this.closed = true;
    this.network.forget(this);
    this.rejectWaiters();
    if (abrupt) {
      this.inFlight.length = 0;
      this.network.carry(() => this.other.finish(netError('ECONNRESET', this.other.peer)));
    } else this.transmit(() => this.other.finish());
  }

  private reset(): void {
    this.network.world.note('net', `connection cut behind ${this.node.name}`);
    this.network.onStruck();
    this.network.carry(() => this.finish(netError('ECONNRESET', this.peer)));
    this.transmit(() => this.other.finish(netError('ECONNRESET', this.other.peer)));
  }

  /** In order: each transmission takes the oldest waiting action with it. */
  private transmit(fn: () => void): void {
    this.inFlight.push(fn);
    this.network.carry(() => this.inFlight.shift()?.());
  }

  private spoil(data: Buffer): void {
    const { corrupt, world } = this.network;
    if (corrupt?.from !== this.node.name || corrupt.port !== this.port) return;
    const at = corrupt.byte - this.sentBytes;
    if (at < 0 || at >= data.length) return;
    world.note('net', `byte ${corrupt.byte} from ${this.node.name} is wrong`);
    this.network.onStruck();
    data[at] ^= 1 << world.random.below(8);
  }

  private room(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    const upTo = this.sentBytes - windowBytes;
    return new Promise((resolve, reject) => this.waiters.push({ upTo, resolve, reject }));
  }

  private consumed(n: number): void {
    this.consumedByOther += n;
    if (this.waiters.length > 0) this.network.carry(() => this.wakeWaiters());
  }

  private wakeWaiters(): void {
    while (this.waiters.length > 0 && this.consumedByOther >= this.waiters[0].upTo) {
      this.node.deliver('input', this.waiters.shift()!.resolve);
    }
  }

  private rejectWaiters(): void {
    for (const waiter of this.waiters.splice(0)) {
      this.node.deliver('input', () => waiter.reject(new Error('the stream is dead')));
    }
  }

  private arrive(piece: Buffer): void {
    if (this.closed || this.ended) return this.refuse();
    this.arrived.push(piece);
    this.node.deliver('input', () => this.flow());
  }

  /** The kernel of a host that knows no such connection says so; one without power says nothing. */
  private refuse(): void {
    if (this.node.dead) return;
    this.network.carry(() => this.other.finish(netError('ECONNRESET', this.other.peer)));
  }

  finish(error?: Error): void {
    if (this.closed || this.ended) return;
    this.endPending = this.endPending && !error ? this.endPending : { error };
    this.node.deliver('input', () => this.flow());
  }

  private flowSoon(): void {
    this.network.world.after(0, () => this.node.deliver('input', () => this.flow()));
  }

  private flow(): void {
    if (this.node.dead) return;
    while (this.readable) {
      const piece = this.arrived.shift()!;
      this.other.consumed(piece.length);
      this.dataFn!(piece);
      // One read may give all that is there, or not.
      if (this.arrived.length > 0 && this.network.world.random.chance(0.5)) return this.flowSoon();
    }
    if (!this.endFn || !this.endPending || this.ended || this.closed) return;
    if (this.arrived.length > 0 && !this.endPending.error) return;
    this.ended = true;
    this.rejectWaiters();
    this.endFn(this.endPending.error);
  }

  private get readable(): boolean {
    if (!this.dataFn || this.held || this.closed || this.ended) return false;
    return !this.endPending?.error && this.arrived.length > 0;
  }
}
