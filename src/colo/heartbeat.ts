/**
 * Whether the peer lives. Two things tell: signs beside the connection, which a thread of each
 * process sends and hears apart from its main loop, and the connection itself, on which the primary
 * pings and the secondary answers. A peer is lost
 * - when both have been silent for the heartbeat's time-out: its process is gone, or stands still;
 * - when the connection alone has been silent for longer than any collection of garbage or copy
 *   takes: its main loop is stuck, or nothing passes there. Where no signs come beside the
 *   connection, it is the only rule.
 * Ticks of our own main loop without a byte are counted, not time: a process that was stopped and
 * resumed must read what waits in its socket before it judges its peer.
 *
 * Only a ping's answer proves anything for the lease (lease.ts). A sign of life is no proof: it
 * answers nothing, so it does not say when it was asked for, and a secondary that takes over must
 * be able to say "from now on nothing is proved" to a main loop that it knows to obey.
 */
import { VmError, asVmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Clock, Entropy, Heartbeat } from '../host/ports.js';
import type { Link } from '../migration/link.js';
import { type Moment, momentOf } from './lease.js';
import type { Message } from './messages.js';
import { BEATS_MIN, type HeartbeatTimes } from './options.js';
import { trace } from './trace.js';

/** Pings whose answer may still come. */
const OPEN_PINGS = 256;
const KEY_BYTES = 16;

/** Counts silence; fails the link. */
abstract class Watch {
  protected beats: Heartbeat | undefined;
  private timer: Disposable | undefined;
  private seen = 0;
  private silentMs = 0;
  private excusedMs = 0;
  /** As told last, to the thread and to the peer. */
  private intervalMs: number;
  private peerIntervalMs = 0;
  /** The connection goes on, and the signs beside it stay away. */
  private blocked = false;
  private told = false;
  private slowPeerTold = false;

  constructor(
    protected readonly link: Link<Message>,
    protected readonly clock: Clock,
    protected readonly times: HeartbeatTimes,
    private readonly report: (line: string) => void = () => undefined,
  ) {
    this.intervalMs = times.heartbeatMs;
  }

  start(): void {
    this.seen = this.link.progress;
    this.arm();
  }

  protected get watching(): boolean {
    return this.timer !== undefined;
  }

  stop(): void {
    this.timer?.dispose();
    this.timer = undefined;
    this.beats?.dispose();
    this.beats = undefined;
  }

  /** The peer has said that it may be silent on the connection for so much longer. */
  excuse(ms: number): void {
    this.excusedMs = ms;
  }

  /** Our own main loop may not turn for so much longer. */
  busy(ms: number): void {
    this.beats?.turned(ms);
  }

  /** What the peer says of its own. */
  hear({ ms }: Extract<Message, { ms: number }>): void {
    if (!this.watching) return; // a stranger's word
    this.peerIntervalMs = ms;
    const { peerTimeoutMs } = this.times;
    if (this.limitMs <= peerTimeoutMs) this.slowPeerTold = false;
    else if (!this.slowPeerTold) {
      this.slowPeerTold = true;
      this.report(
        `x-heartbeat-timeout ${peerTimeoutMs}: the peer shows its life every ${ms} ms, so it is ` +
          `${this.limitMs} ms here`,
      );
    }
  }

  protected abstract beat(): void;

  /** undefined: this connection has none beside it. */
  protected open(key: Uint8Array, caller: boolean): Heartbeat | undefined {
    const { heartbeatMs: intervalMs, loopLimitMs } = this.times;
    try {
      this.beats = this.link.heartbeat({ key, caller, intervalMs, loopLimitMs });
    } catch (thrown) {
      this.tellBlocked(asVmError(thrown).message);
    }
    return this.beats;
  }

  /** Signs that cannot be shown are no failure: the connection is watched all the same. */
  protected tellBlocked(why: string): void {
    if (!this.told) {
      const { loopLimitMs, peerTimeoutMs } = this.times;
      const limitMs = Math.max(loopLimitMs, peerTimeoutMs);
      this.report(`COLO: ${why}: a silent peer is lost after ${limitMs} ms`);
    }
    this.told = true;
  }

  private arm(): void {
    this.timer = this.clock.timer(this.times.heartbeatMs, () => this.tick());
  }

  private tick(): void {
    if (this.link.failed) return this.stop();
    this.beats?.turned();
    const { progress } = this.link;
    const moved = progress !== this.seen;
    this.seen = progress;
    this.silentMs = moved || this.link.holding ? 0 : this.silentMs + this.times.heartbeatMs;
    const lost = this.judge(moved);
    if (lost) {
      this.stop();
      return this.link.fail(lost);
    }
    this.followInterval();
    this.beat();
    this.arm();
  }

  /** Never less than a few of the peer's own intervals. */
  private get limitMs(): number {
    return Math.max(this.times.peerTimeoutMs, BEATS_MIN * this.peerIntervalMs);
  }

  private judge(moved: boolean): VmError | undefined {
    const { limitMs } = this;
    const beatsMs = this.beats?.silentMs;
    const alive = beatsMs !== undefined && beatsMs < limitMs;
    const connectionMs = Math.max(this.times.loopLimitMs, limitMs) + this.excusedMs;
    if (this.silentMs >= connectionMs)
      return new VmError(
        alive
          ? `the peer lives, and has said nothing for ${connectionMs} ms`
          : `no sign of life from the peer for ${connectionMs} ms`,
      );
    if (beatsMs === undefined) return undefined;
    if (alive) this.blocked = false;
    else if (moved) {
      this.blocked = true;
      this.tellBlocked('heartbeats of the peer do not arrive any more (UDP), its messages do');
    }
    if (alive || this.blocked || this.silentMs < limitMs) return undefined;
    trace.heartbeat_lost?.({ beatsMs, connectionMs: this.silentMs });
    return new VmError(`no sign of life from the peer for ${limitMs} ms`);
  }

  /** x-heartbeat-interval was changed. */
  private followInterval(): void {
    const { heartbeatMs } = this.times;
    if (heartbeatMs === this.intervalMs) return;
    this.intervalMs = heartbeatMs;
    this.beats?.setInterval(heartbeatMs);
    this.link.post({ type: 'heartbeat-interval', ms: heartbeatMs });
  }
}

export class PrimaryHeartbeat extends Watch {
  private seq = 0;
  private readonly asked = new Map<number, Moment>();

  /**
   * Under a key of this connection's own; the peer answers with where it listens. It hears as well
   * which process this is: where it can see that one at the other end, it needs no sign.
   */
  beside(entropy: Entropy): void {
    const key = Buffer.alloc(KEY_BYTES);
    entropy.fill(key);
    const ms = this.times.heartbeatMs;
    if (this.open(key, true)) this.link.post({ type: 'heartbeat-key', key, ms });
    const { holder } = this.link;
    if (holder !== undefined) this.link.post({ type: 'process', holder });
  }

  override hear(message: Extract<Message, { ms: number }>): void {
    super.hear(message);
    if (message.type !== 'heartbeat-port') return;
    try {
      this.beats?.aim(message.port);
    } catch (thrown) {
      this.tellBlocked(asVmError(thrown).message);
    }
  }

  /** A ping now; its answer is a proof from now on. */
  beat(): void {
    this.seq++;
    this.asked.set(this.seq, momentOf(this.clock));
    this.asked.delete(this.seq - OPEN_PINGS);
    this.link.post({ type: 'ping', seq: this.seq });
  }

  /**
   * When the ping of this answer was sent; undefined for one that we never sent or have had
   * answered.
   */
  answered(seq: number): Moment | undefined {
    const moment = this.asked.get(seq);
    this.asked.delete(seq);
    return moment;
  }
}

export class SecondaryHeartbeat extends Watch {
  private mute = false;
  /** When we last gave an answer that lets the primary release output, by bootMs. */
  lastGrantMs: number | undefined;

  protected beat(): void {}

  /** Of a peer that is none yet nothing is opened, and then for its first key. */
  override hear(message: Extract<Message, { ms: number }>): void {
    super.hear(message);
    if (message.type !== 'heartbeat-key' || !this.watching || this.beats) return;
    const beats = this.open(message.key, false);
    const ms = this.times.heartbeatMs;
    if (beats) this.link.post({ type: 'heartbeat-port', port: beats.port, ms });
  }

  answer(seq: number): void {
    if (this.mute) return;
    this.grant();
    this.link.post({ type: 'pong', seq });
  }

  /** Note it before the answer is written. */
  grant(): void {
    this.lastGrantMs = this.clock.bootMs();
  }

  /** From now on we prove nothing to the primary. */
  silence(): void {
    this.mute = true;
    this.stop();
  }
}
