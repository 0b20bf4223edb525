/**
 * A unix or TCP socket as a channel. One peer at a time: a server keeps later ones waiting (a few)
 * until the first has gone; a client connects again if its options say so.
 */
import { asVmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Address, Clock, Listener, Sockets, Stream } from '../host/ports.js';
import type { CharBackend, CharEvent } from './contract.js';
import { Front } from './front.js';

const MAX_PENDING_BYTES = 256 << 10;
const MAX_WAITING_PEERS = 8;
/** How long a peer that we hang up on may take to read what we still had for it. */
const LINGER_MS = 1000;
const DIAL_TIMEOUT_MS = 10_000;

/** One peer, from accept or connect to its end. */
class Peer {
  kept: Uint8Array[] = [];
  inputEnded = false;
  /** It reads no more; what it sent before is still worth having. */
  deaf = false;
  gone = false;
  hangingUp = false;
  linger: Disposable | undefined;

  constructor(readonly stream: Stream) {}
}

export class SocketChar implements CharBackend {
  readonly terminal = undefined;
  private readonly front = new Front();
  private peer: Peer | undefined;
  private waiting: Peer[] = [];
  private listener: Listener | undefined;
  private redial: Disposable | undefined;
  private refused = false;
  private disposed = false;
  private gone: (() => void) | undefined;
  private readonly firstPeer: { promise: Promise<void>; resolve: () => void };

  /** labelled: what it is, by the address that it has. */
  constructor(
    readonly id: string,
    private readonly labelled: (address: Address) => string,
    private readonly ports: { sockets: Sockets; clock: Clock; log: (line: string) => void },
    private readonly address: Address,
    private readonly reconnectMs: number,
  ) {
    let resolve: () => void = () => undefined;
    this.firstPeer = { promise: new Promise<void>(r => (resolve = r)), resolve: () => resolve() };
  }

  /**
   * A channel for one peer that is there already. gone: it has left, and there will be no other.
   */
  static over(
    label: string,
    ports: { sockets: Sockets; clock: Clock; log: (line: string) => void },
    stream: Stream,
    gone: () => void,
  ): SocketChar {
    const channel = new SocketChar(label, () => label, ports, { kind: 'unix', path: '' }, 0);
    channel.gone = gone;
    channel.accept(stream);
    return channel;
  }

  /** Resolves when the socket listens; with wait when the first peer is there. */
  async listen(wait: boolean): Promise<void> {
    this.listener = await this.ports.sockets.listen(this.address, stream => this.accept(stream));
    if (!wait) return;
    this.ports.log(`waiting for a connection on ${this.label}`);
    await this.firstPeer.promise;
  }

  /** The first dial fails aloud, unless there will be others. */
  async dial(): Promise<void> {
    try {
      const stream = await this.ports.sockets.connect(this.address, { timeoutMs: DIAL_TIMEOUT_MS });
      if (this.disposed) stream.destroy();
      else this.accept(stream);
    } catch (error) {
      if (this.reconnectMs === 0) throw asVmError(error).during(this.label);
      this.dialLater();
    }
  }

  get connected(): boolean {
    return this.peer !== undefined;
  }

  /** With the port that the host chose, where it was left to it. */
  get label(): string {
    return this.labelled(this.listener?.address ?? this.address);
  }

  write(bytes: Uint8Array): boolean {
    const peer = this.peer;
    if (!peer || peer.hangingUp || peer.deaf) return true;
    if (peer.stream.pending >= MAX_PENDING_BYTES) {
      this.refused = true;
      return false;
    }
    peer.stream.write(Uint8Array.from(bytes)).then(
      () => this.madeRoom(peer),
      () => this.unheard(peer),
    );
    return true;
  }

  onRoom(fn: () => void): void {
    this.front.setRoom(fn);
  }

  onData(fn: (bytes: Uint8Array) => void): void {
    this.front.setData(fn);
    this.steer();
  }

  onEvent(fn: (event: CharEvent) => void): void {
    this.front.setEvent(fn);
    if (this.peer) fn('opened');
  }

  onInputEnd(fn: () => void): void {
    this.front.setInputEnd(fn);
  }

  pause(): void {
    this.front.pause();
    this.steer();
  }

  resume(): void {
    this.front.resume();
    this.steer();
  }

  hangUp(): void {
    const peer = this.peer;
    if (!peer || peer.hangingUp) return;
    peer.hangingUp = true;
    this.steer();
    peer.linger = this.ports.clock.timer(LINGER_MS, () => this.lost(peer));
    peer.stream.write(new Uint8Array(0)).then(
      () => {
        peer.stream.end();
        if (peer.inputEnded) this.lost(peer);
      },
      () => this.lost(peer),
    );
  }

  yank(): void {
    if (this.peer) this.lost(this.peer);
  }

  release(): void {
    this.front.release();
    this.steer();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.listener?.dispose();
    this.redial?.dispose();
    for (const peer of [...this.waiting, ...(this.peer ? [this.peer] : [])]) {
      peer.linger?.dispose();
      peer.stream.destroy();
    }
    this.waiting = [];
    this.peer = undefined;
  }

  private accept(stream: Stream): void {
    const peer = new Peer(stream);
    stream.readToEnd?.();
    stream.onData(bytes =>
      peer === this.peer ? this.deliver(peer, bytes) : peer.kept.push(Uint8Array.from(bytes)),
    );
    stream.onEnd(error => this.inputEnded(peer, error !== undefined));
    if (!this.peer) return this.adopt(peer);
    if (this.waiting.length >= MAX_WAITING_PEERS) return stream.destroy();
    stream.pause();
    this.waiting.push(peer);
  }

  private adopt(peer: Peer): void {
    this.peer = peer;
    this.refused = false;
    this.front.event('opened');
    for (const bytes of peer.kept.splice(0)) this.front.deliver(bytes);
    this.steer();
    if (peer.inputEnded) this.front.end(() => this.hangUp());
    this.firstPeer.resolve();
  }

  private deliver(peer: Peer, bytes: Uint8Array): void {
    if (!peer.hangingUp) this.front.deliver(bytes);
  }

  /** broken: it did not say goodbye. A program that sends a line and leaves looks like this. */
  private inputEnded(peer: Peer, broken: boolean): void {
    if (peer.gone || this.disposed) return;
    peer.inputEnded = true;
    if (broken) this.unheard(peer);
    if (peer !== this.peer) return;
    if (peer.hangingUp) this.lost(peer);
    else this.front.end(() => this.hangUp());
  }

  /** Writes are dropped from now on, and never wait; reading continues to its end. */
  private unheard(peer: Peer): void {
    peer.deaf = true;
    if (peer !== this.peer || !this.refused) return;
    this.refused = false;
    this.front.room();
  }

  /** Reading follows the front end's appetite. */
  private steer(): void {
    if (!this.peer) return;
    if (this.front.open || this.peer.hangingUp) this.peer.stream.resume();
    else this.peer.stream.pause();
  }

  private madeRoom(peer: Peer): void {
    if (peer !== this.peer || !this.refused || peer.stream.pending >= MAX_PENDING_BYTES) return;
    this.refused = false;
    this.front.room();
  }

  private lost(peer: Peer): void {
    if (peer.gone || this.disposed) return;
    peer.gone = true;
    peer.linger?.dispose();
    peer.stream.destroy();
    if (peer !== this.peer) {
      this.waiting = this.waiting.filter(other => other !== peer);
      return;
    }
    this.peer = undefined;
    this.front.event('closed');
    const next = this.waiting.shift();
    if (next) this.adopt(next);
    else if (!this.listener && this.reconnectMs > 0) this.dialLater();
    else this.gone?.();
  }

  private dialLater(): void {
    if (this.disposed) return;
    this.redial = this.ports.clock.timer(this.reconnectMs, () => void this.dial());
  }
}
