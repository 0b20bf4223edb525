/**
 * Connections between simulated hosts: delay, silence, cuts at any byte, wrong bits, resets that
 * reach one end only. How an end of a connection behaves is stream.ts.
 */
import { VmError } from '../../../src/base/errors.js';
import type { Address, Listener, Sockets, Stream } from '../../../src/host/ports.js';
import type { SimNode } from './node.js';
import { SimStream } from './stream.js';
import type { World } from './world.js';

export type NetError = 'ECONNRESET' | 'ETIMEDOUT' | 'ECONNREFUSED';
const said: Readonly<Record<NetError, string>> = {
  ECONNRESET: 'Connection reset by peer',
  ETIMEDOUT: 'Connection timed out',
  ECONNREFUSED: 'Connection refused',
};

/** As the sockets of node give it: a sentence, and the system's error as its cause. */
export function netError(code: NetError, where: string): VmError {
  const cause = Object.assign(new Error(`${where} ${code}`), { code });
  return new VmError(`${where}: ${said[code]}`, { cause });
}

/** A connection is known by the port that it was made to. */
interface Spot {
  from: string;
  port: number;
}

const usualLatencyMs: readonly [number, number] = [0.1, 1.5];

export class SimNetwork {
  /** Until then nothing passes; what was sent waits (TCP sends again). */
  private blockedUntil = 0;
  private readonly listeners = new Map<string, { node: SimNode; onStream: (s: Stream) => void }>();
  private readonly streams = new Set<SimStream>();
  /** What a file server has that all hosts reach: names and contents by folder. */
  readonly folders = new Map<string, Map<string, Uint8Array>>();
  private freePort = 40000;
  /** Cut the next connection in this direction after so many bytes. */
  cutAfter: (Spot & { bytes: number }) | undefined;
  /** One bit of this byte is turned over. */
  corrupt: (Spot & { byte: number }) | undefined;
  latencyMs = usualLatencyMs;
  /** A cut, or a byte that was turned over, has come. */
  onStruck: () => void = () => undefined;
  /** What is written, as it is written. */
  onWrite: (spot: Spot, bytes: Uint8Array) => void = () => undefined;

  constructor(readonly world: World) {}

  block(ms: number): void {
    this.world.note('net', `silent for ${ms.toFixed(1)} ms`);
    this.blockedUntil = Math.max(this.blockedUntil, this.world.now + ms);
  }

  get blocked(): boolean {
    return this.blockedUntil > this.world.now;
  }

  /** For so long a byte takes that long. */
  slow(ms: number, latencyMs: readonly [number, number]): void {
    this.world.note(
      'net',
      `${latencyMs[0]} to ${latencyMs[1]} ms of latency for ${ms.toFixed(1)} ms`,
    );
    this.latencyMs = latencyMs;
    this.world.after(ms, () => {
      // A later one may be under way.
      if (this.latencyMs === latencyMs) this.latencyMs = usualLatencyMs;
    });
  }

  /** The connections to that port fail at this end; the other end is told nothing. */
  breakEnd({ from, port }: Spot, code: NetError): void {
    this.world.note('net', `${code} at ${from} for port ${port}`);
    for (const stream of this.open({ from, port })) stream.finish(netError(code, stream.peer));
  }

  /** The connections to that port end here and now, for both ends. */
  cut(port: number): void {
    this.world.note('net', `connections to port ${port} are cut`);
    for (const stream of this.open({ port })) stream.finish(netError('ECONNRESET', stream.peer));
  }

  private open({ from, port }: { from?: string; port: number }): SimStream[] {
    return [...this.streams].filter(
      s => s.port === port && (from === undefined || s.from === from),
    );
  }

  /** Calls fn when a byte sent now would arrive. */
  carry(fn: () => void): void {
    const [least, most] = this.latencyMs;
    const go = () => {
      if (this.blocked) this.world.at(this.blockedUntil + 0.01, go);
      else fn();
    };
    this.world.after(this.world.random.between(least, most), go);
  }

  sockets(node: SimNode): Sockets {
    return {
      connect: (address, { timeoutMs }) => this.connect(node, address, timeoutMs),
      listen: (address, onStream) => this.listen(node, address, onStream),
    };
  }

  private connect(node: SimNode, address: Address, timeoutMs: number): Promise<Stream> {
    const { name, port } = placeOf(address, node);
    const where = `Failed to connect to '${name}:${port}'`;
    return new Promise((resolve, reject) => {
      let over = false;
      const timer = node.clock.timer(timeoutMs, () =>
        end(() => reject(netError('ETIMEDOUT', where))),
      );
      const end = (fn: () => void) => {
        if (over) return;
        over = true;
        timer.dispose();
        fn();
      };
      this.carry(() => {
        const found = this.listeners.get(`${name} ${port}`);
        const refuse = () =>
          node.deliver('input', () => end(() => reject(netError('ECONNREFUSED', where))));
        if (!found) return void this.carry(refuse);
        if (over || found.node.dead || node.dead) return;
        const [near, far] = this.connection(node, found.node, port);
        found.node.deliver('input', () => found.onStream(far));
        node.deliver('input', () => (over ? near.destroy() : end(() => resolve(near))));
      });
    });
  }

  private async listen(
    node: SimNode,
    address: Address,
    onStream: (s: Stream) => void,
  ): Promise<Listener> {
    const asked = placeOf(address, node).port;
    const port = asked === 0 ? this.freePort++ : asked;
    const key = `${node.host.name} ${port}`;
    const known = this.listeners.get(key);
    // A host without power refuses nobody, and its next process may listen there.
    if (known && known.node !== node && !known.node.dead)
      throw new VmError(`Failed to listen on '${key}': Address already in use`);
    this.listeners.set(key, { node, onStream });
    node.onDeath(
      clean => clean && this.listeners.get(key)?.node === node && this.listeners.delete(key),
    );
    const bound: Address = address.kind === 'tcp' ? { ...address, port } : address;
    return { address: bound, dispose: () => void this.listeners.delete(key) };
  }

  private connection(a: SimNode, b: SimNode, port: number): [SimStream, SimStream] {
    const near = new SimStream(this, a, { peer: b.name, port });
    const far = new SimStream(this, b, { peer: a.name, port });
    near.other = far;
    far.other = near;
    const { cutAfter } = this;
    if (cutAfter?.port === port) {
      (cutAfter.from === a.name ? near : far).cutAt = cutAfter.bytes;
      this.cutAfter = undefined;
    }
    for (const [node, stream] of [
      [a, near],
      [b, far],
    ] as const) {
      this.streams.add(stream);
      node.onDeath(clean => stream.die(clean));
    }
    return [near, far];
  }

  forget(stream: SimStream): void {
    this.streams.delete(stream);
  }
}

/** Hosts are called by a letter; `secondary` and `S` are the same one. */
function placeOf(address: Address, node: SimNode): { name: string; port: number } {
  if (address.kind === 'unix') throw new VmError(`there is no '${address.path}' here`);
  const { host, port } = address;
  return { name: /^[a-z]/i.test(host) ? host[0].toUpperCase() : node.host.name, port };
}
