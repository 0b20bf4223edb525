/** Connections between nodes: delay, any chunking, a window, cuts at any byte, stalls, partitions, and the ways in which an end can go. */
import type { Address, Listener, Sockets, Stream } from '../../src/host/ports.js';
import type { SimNode, World } from './world.js';

const windowBytes = 48 * 1024;
const resetError = () => Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });

export class SimNetwork {
  /** Until then nothing passes; what was sent waits (TCP sends again). */
  private blockedUntil = 0;
  private readonly listeners = new Map<string, { node: SimNode; onStream: (s: Stream) => void }>();
  /** Cut the next connection in this direction after so many bytes. */
  cutAfter: { from: string; bytes: number } | undefined;
  /** One bit of this byte is turned over. */
  corrupt: { from: string; byte: number } | undefined;
  latencyMs: [number, number] = [0.1, 1.5];

  constructor(readonly world: World) {}

  block(ms: number): void {
    this.world.note('net', `silent for ${ms.toFixed(1)} ms`);
    this.blockedUntil = this.world.now + ms;
  }

  get blocked(): boolean {
    return this.blockedUntil > this.world.now;
  }

  /** Calls fn when a byte sent now would arrive. */
  carry(fn: () => void): void {
    const arrive = this.world.now + this.world.random.between(...this.latencyMs);
    const go = () => (this.blocked ? void this.world.at(this.blockedUntil + 0.01, go) : fn());
    this.world.at(arrive, go);
  }

  sockets(node: SimNode): Sockets {
    return {
      connect: (address: Address) =>
        new Promise((resolve, reject) => {
          const listener = this.listeners.get(key(address));
          if (!listener) return void this.carry(() => node.deliver('input', () => reject(new Error('connect ECONNREFUSED'))));
          this.carry(() => {
            if (listener.node.dead || node.dead) return;
            const [near, far] = connection(this, node, listener.node);
            listener.node.deliver('input', () => listener.onStream(far));
            node.deliver('input', () => resolve(near));
          });
        }),
      listen: async (address: Address, onStream): Promise<Listener> => {
        this.listeners.set(key(address), { node, onStream });
        return { address, dispose: () => void this.listeners.delete(key(address)) };
      },
    };
  }
}

const key = (address: Address) => (address.kind === 'tcp' ? `tcp ${address.port}` : `unix ${address.path}`);

function connection(network: SimNetwork, a: SimNode, b: SimNode): [SimStream, SimStream] {
  const near = new SimStream(network, a, b.name);
  const far = new SimStream(network, b, a.name);
  near.other = far;
  far.other = near;
  const cut = network.cutAfter;
  if (cut) (cut.from === a.name ? near : far).cutAt = cut.bytes;
  for (const [node, stream] of [[a, near], [b, far]] as const) node.onDeath(clean => stream.die(clean));
  return [near, far];
}

export class SimStream implements Stream {
  other!: SimStream;
  cutAt = Infinity;
  private sentBytes = 0;
  private consumedByOther = 0;
  private readonly waiters: { upTo: number; resolve: () => void; reject: (e: Error) => void }[] = [];
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
    readonly peer: string,
  ) {}

  get pending(): number {
    return Math.max(0, this.sentBytes - this.consumedByOther - windowBytes);
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.closed || this.node.dead) return Promise.reject(new Error('write after the end'));
    let data = Buffer.from(bytes);
    const cut = this.sentBytes + data.length > this.cutAt;
    if (cut) data = data.subarray(0, Math.max(0, this.cutAt - this.sentBytes));
    this.spoil(data);
    this.sentBytes += data.length;
    const random = this.network.world.random;
    for (let at = 0; at < data.length; ) {
      const n = random.chance(0.8) ? data.length - at : 1 + random.below(data.length - at);
      const piece = data.subarray(at, at + n);
      this.transmit(() => this.other.arrive(piece));
      at += n;
    }
    if (cut) this.reset();
    return this.room();
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
    this.network.world.after(0, () => this.node.deliver('input', () => this.flow()));
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
  }

  /** abrupt: with a reset, which may overtake what is on its way. */
  private close(abrupt: boolean): void {
    this.closed = true;
    this.rejectWaiters();
    if (abrupt) {
      this.inFlight.length = 0;
      this.network.carry(() => this.other.finish(resetError()));
    } else this.transmit(() => this.other.finish());
  }

  private reset(): void {
    this.network.world.note('net', `connection cut behind ${this.node.name}`);
    this.network.carry(() => this.finish(resetError()));
    this.transmit(() => this.other.finish(resetError()));
  }

  /** In order: each transmission takes the oldest waiting action with it. */
  private transmit(fn: () => void): void {
    this.inFlight.push(fn);
    this.network.carry(() => this.inFlight.shift()?.());
  }

  private spoil(data: Buffer): void {
    const { corrupt, world } = this.network;
    const at = (corrupt?.byte ?? -1) - this.sentBytes;
    if (corrupt?.from !== this.node.name || at < 0 || at >= data.length) return;
    world.note('net', `byte ${corrupt.byte} from ${this.node.name} is wrong`);
    data[at] ^= 1 << world.random.below(8);
  }

  private room(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    return new Promise((resolve, reject) => this.waiters.push({ upTo: this.sentBytes - windowBytes, resolve, reject }));
  }

  private consumed(n: number): void {
    this.consumedByOther += n;
    while (this.waiters.length > 0 && this.consumedByOther >= this.waiters[0].upTo) {
      const waiter = this.waiters.shift()!;
      this.node.deliver('input', waiter.resolve);
    }
  }

  private rejectWaiters(): void {
    for (const waiter of this.waiters.splice(0)) this.node.deliver('input', () => waiter.reject(new Error('the stream is dead')));
  }

  private arrive(piece: Buffer): void {
    if (this.closed || this.ended) return;
    this.arrived.push(piece);
    this.node.deliver('input', () => this.flow());
  }

  private finish(error?: Error): void {
    if (this.closed || this.ended) return;
    this.endPending ??= { error };
    this.node.deliver('input', () => this.flow());
  }

  private flow(): void {
    if (this.node.dead) return;
    while (this.dataFn && !this.held && !this.closed && !this.endPending?.error && this.arrived.length > 0) {
      const piece = this.arrived.shift()!;
      this.network.carry(() => this.other.consumed(piece.length));
      this.dataFn(piece);
      // One read may give all that is there, or not.
      if (this.arrived.length > 0 && this.network.world.random.chance(0.5)) return void this.network.world.after(0, () => this.node.deliver('input', () => this.flow()));
    }
    if (!this.endFn || !this.endPending || this.ended || this.closed) return;
    if (this.arrived.length > 0 && !this.endPending.error) return;
    this.ended = true;
    this.rejectWaiters();
    this.endFn(this.endPending.error);
  }
}
