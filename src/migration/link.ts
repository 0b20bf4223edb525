/**
 * One replication connection: frames in and out, a bounded inbox with back-pressure, and one place
 * where it fails. Messages that must not wait in line (heartbeats, a peer that takes over) go to
 * `urgent` at once; the rest is awaited one by one with next() and expect().
 */
import { VmError, asVmError } from '../base/errors.js';
import type { Clock, Heartbeat, HeartbeatOptions, Stream } from '../host/ports.js';
import { FrameDecoder, type FrameKind, encodeStreamHeader } from './frames.js';
import { type ProgressCounter, within } from './wait.js';

export interface MessageCodec<M extends { type: string }> {
  /** What this side takes; anything else is a protocol error. */
  readonly takes: readonly FrameKind[];
  encode(message: M): Buffer;
  decode(kind: FrameKind, body: Buffer): M;
}

/** Above this the peer is told to wait; it is about four chunks of RAM. */
const INBOX_BYTES_HIGH = 4 * 1024 * 1024;
const INBOX_FRAMES_HIGH = 64;
/**
 * Frames that one delivery of the socket may still add; a peer that sends more small ones than this
 * is not ours.
 */
const INBOX_FRAMES_MAX = 1024;

/** How long the peer gets to read the last message before the connection is closed. */
const FAREWELL_MS = 500;

export class Link<M extends { type: string }> {
  private readonly inbox: { message: M; bytes: number }[] = [];
  private inboxBytes = 0;
  private waiter: ((message: M) => void) | undefined;
  private readonly decoder: FrameDecoder<FrameKind>;
  /**
   * Waits that a failure ends. (A race against one long-lived promise would keep every result alive
   * with it.)
   */
  private readonly waits = new Set<(error: VmError) => void>();
  private broken: VmError | undefined;
  private deaf = false;
  private closed = false;
  private paused = false;
  private mute = false;
  private finishing = false;
  private provenLocal = false;
  /**
   * The peer's end of the connection is closed. On a local stream its process can never read again
   * what we sent or send.
   */
  peerGone = false;
  /** Bytes received so far: the sign of life. */
  received = 0;
  sent = 0;
  private carried = 0;
  /** A message stays in our queue for at most this long; then the peer counts as not reading. */
  sendLimitMs: number | undefined;
  /**
   * Returns true if the message is done with. Runs also after a failure, as long as frames can be
   * understood.
   */
  urgent: (message: M) => boolean = () => false;
  /** Each message as it leaves and as it is taken, for traces and fault injection. */
  onMessage: (direction: 'sent' | 'got', message: M) => void = () => undefined;
  private goneListeners: (() => void)[] = [];

  constructor(
    private readonly stream: Stream,
    private readonly clock: Clock,
    private readonly codec: MessageCodec<M>,
    /** A file or a command stands at the other end: it has other words for its failures. */
    private readonly oneWay = false,
  ) {
    this.decoder = new FrameDecoder(codec.takes, (kind, body) => this.onFrame(kind, body));
    stream.onData(data => this.onData(data));
    stream.onEnd(error => this.onEnd(error));
    this.write(encodeStreamHeader()).catch(() => undefined);
  }

  get peer(): string {
    return this.stream.peer;
  }
  get failed(): VmError | undefined {
    return this.broken;
  }
  /** Its end is known to the kernel of this host, not told by something on the way. */
  get local(): boolean {
    return this.stream.local === true || this.provenLocal;
  }
  get holder(): string | undefined {
    return this.stream.holder;
  }
  /** The peer says which process it is: local, where that one is here and holds the other end. */
  async heldBy(holder: string): Promise<void> {
    const held = await this.stream.heldBy?.(holder).catch(() => false);
    this.provenLocal = held === true && !this.peerGone;
  }
  /** Signs of life beside it; undefined: it has none. VmError: none can be heard here. */
  heartbeat(options: HeartbeatOptions): Heartbeat | undefined {
    return this.stream.heartbeat?.(options);
  }
  /** What the peer says still reaches `urgent`. */
  get listening(): boolean {
    return !this.deaf && !this.closed && !this.peerGone;
  }
  /**
   * Grows with what the peer says and with what it takes. On a slow link its answers wait behind
   * RAM; what is posted does not count, for a queue has room for that without a peer.
   */
  get progress(): number {
    return this.received + this.carried;
  }
  /** We hold the peer's bytes back ourselves, so its silence says nothing. */
  get holding(): boolean {
    return this.paused;
  }

  /** Resolves when the message has left our queue. */
  async send(message: M): Promise<void> {
    await this.sendFrame(message, this.codec.encode(message));
  }

  /** A message that is encoded already (bulk data, one allocation). */
  async sendFrame(message: M, frame: Buffer): Promise<void> {
    if (this.broken) throw this.broken;
    const written = this.write(frame);
    this.onMessage('sent', message);
    try {
      await this.guard(written, `sending ${message.type}`, this.sendLimitMs);
    } catch (error) {
      this.fail(asVmError(error));
      throw error;
    }
    this.carried += frame.length;
  }

  /** Best effort, also on a link that has failed but is still open. */
  post(message: M): void {
    if (this.closed || this.mute) return;
    const written = this.write(this.codec.encode(message));
    this.onMessage('sent', message);
    written.catch(() => undefined);
  }

  /** The promise, unless the link fails first or ms pass without progress. */
  guard<T>(promise: Promise<T>, what: string, ms?: number, progress?: ProgressCounter): Promise<T> {
    const guarded = new Promise<T>((resolve, reject) => {
      if (this.broken) reject(this.broken);
      this.waits.add(reject);
      promise.then(resolve, reject).finally(() => this.waits.delete(reject));
    });
    return ms === undefined ? guarded : within(this.clock, ms, what, guarded, progress);
  }

  /** The next message in line. Without ms the heartbeat alone bounds the wait. */
  async next(what: string, ms?: number, progress?: ProgressCounter): Promise<M> {
    const taken = this.inbox.shift();
    if (taken) {
      this.inboxBytes -= taken.bytes;
      if (this.paused && this.inbox.length === 0) this.unpause();
      this.onMessage('got', taken.message);
      return taken.message;
    }
    if (this.broken) throw this.broken;
    const arrival = new Promise<M>(resolve => (this.waiter = resolve));
    try {
      const message = await this.guard(arrival, what, ms, progress);
      this.onMessage('got', message);
      return message;
    } finally {
      this.waiter = undefined;
    }
  }

  async expect<T extends M['type']>(type: T, ms?: number): Promise<Extract<M, { type: T }>> {
    const message = await this.next(`waiting for ${type}`, ms);
    if (message.type !== type) throw unexpected(message.type, type);
    return message as Extract<M, { type: T }>;
  }

  /**
   * The first failure counts. Messages that arrived before it are still returned by next(). The
   * connection stays open until destroy(), because the peer's last message may still matter.
   */
  fail(error: VmError): void {
    if (this.broken) return;
    this.broken = error;
    this.unpause();
    for (const reject of this.waits) reject(error);
    this.waits.clear();
  }

  /** Resolves when the peer's end is known to be closed. */
  gone(): Promise<void> {
    return this.peerGone
      ? Promise.resolve()
      : new Promise(resolve => this.goneListeners.push(resolve));
  }

  /**
   * Says nothing more, gives the peer a moment to read what was said, and closes. Settles when it
   * is closed.
   */
  async farewell(): Promise<void> {
    if (!this.closed && !this.peerGone) {
      this.mute = true;
      this.stream.end();
      await within(this.clock, FAREWELL_MS, 'farewell', this.gone()).catch(() => undefined);
    }
    this.destroy();
  }

  /**
   * All is said: resolves when the other end is through with it (a file is durable, a command has
   * ended well).
   */
  async finish(ms: number): Promise<void> {
    this.mute = true;
    this.finishing = true;
    this.stream.end();
    await this.guard(this.gone(), 'the end of the state', ms);
  }

  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.inbox.length = 0;
    this.stream.destroy();
    this.fail(new VmError('the replication connection was closed'));
  }

  private write(bytes: Buffer): Promise<void> {
    this.sent += bytes.length;
    return this.stream.write(bytes).catch((thrown: unknown) => {
      const failure = asVmError(thrown);
      const error = this.oneWay
        ? failure
        : isPeerReset(failure)
          ? new VmError('the peer closed the connection')
          : failure.during('replication connection');
      this.fail(error);
      throw error;
    });
  }

  private unpause(): void {
    if (!this.paused) return;
    this.paused = false;
    this.stream.resume();
  }

  private onData(data: Uint8Array): void {
    this.received += data.length;
    if (this.deaf || this.closed) return;
    try {
      this.decoder.push(data);
    } catch (error) {
      this.deaf = true;
      this.inbox.length = 0;
      this.fail(
        asVmError(error).during(
          this.oneWay ? 'the state is damaged' : 'the peer broke the protocol',
        ),
      );
    }
  }

  private onFrame(kind: FrameKind, body: Buffer): void {
    const message = this.codec.decode(kind, body);
    if (this.urgent(message) || this.broken) return;
    if (this.waiter) {
      const waiter = this.waiter;
      this.waiter = undefined;
      return waiter(message);
    }
    this.inbox.push({ message, bytes: body.length });
    this.inboxBytes += body.length;
    if (this.inbox.length > INBOX_FRAMES_MAX)
      throw new VmError('far more messages than were asked for');
    if (
      this.paused ||
      (this.inboxBytes < INBOX_BYTES_HIGH && this.inbox.length < INBOX_FRAMES_HIGH)
    )
      return;
    this.paused = true;
    this.stream.pause();
  }

  private onEnd(error?: Error): void {
    this.peerGone = error === undefined || isPeerReset(error);
    if (this.peerGone) for (const listener of this.goneListeners.splice(0)) listener();
    if (this.peerGone && this.finishing) return;
    if (error && !this.peerGone)
      return this.fail(
        this.oneWay ? asVmError(error) : asVmError(error).during('replication connection'),
      );
    const cut = this.decoder.whole || this.deaf ? '' : ' in the middle of a message';
    // A port of TLS ends plain text so.
    const mute = this.received === 0 ? ' before it said a word: does it want TLS (tls-creds)?' : '';
    this.fail(
      new VmError(
        this.oneWay
          ? 'the state ends before its end: it was cut short'
          : `the peer closed the connection${mute || cut}`,
      ),
    );
  }
}

export const unexpected = (got: string, wanted: string) =>
  new VmError(`unexpected message ${got} where ${wanted} must come`);

/**
 * Only these come from the peer's end; a time-out or an unreachable network says nothing about it.
 */
function isPeerReset(error: Error): boolean {
  for (let e: unknown = error; e instanceof Error; e = e.cause) {
    const { code } = e as { code?: unknown };
    if (code !== undefined) return code === 'ECONNRESET' || code === 'EPIPE';
  }
  return false;
}
