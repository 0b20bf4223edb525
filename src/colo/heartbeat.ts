/**
 * Signs of life. The primary pings, the secondary answers; a peer from which no byte came and that
 * took none of ours for long enough is lost. What counts is ticks of our own main loop without a
 * byte, not the clock: a process that was stopped and goes on must read what waits in its socket
 * before it judges its peer.
 */
import { VmError } from '../base/errors.js';
import type { Disposable } from '../base/disposable.js';
import type { Clock } from '../host/ports.js';
import type { Link } from '../migration/link.js';
import { type Moment, momentOf } from './lease.js';
import type { Message } from './messages.js';

/** Pings whose answer may still come. */
const openPings = 256;

export interface HeartbeatTimes {
  heartbeatMs: number;
  peerTimeoutMs: number;
}

/** Counts silent ticks; fails the link. */
abstract class Watch {
  private timer: Disposable | undefined;
  private seen = 0;
  private silent = 0;
  private excusedMs = 0;

  constructor(
    protected readonly link: Link<Message>,
    protected readonly clock: Clock,
    protected readonly times: HeartbeatTimes,
  ) {}

  start(): void {
    this.seen = this.link.progress;
    this.arm();
  }

  stop(): void {
    this.timer?.dispose();
    this.timer = undefined;
  }

  /** The peer has said that it may be silent for so much longer. */
  excuse(ms: number): void {
    this.excusedMs = ms;
  }

  protected abstract beat(): void;

  private arm(): void {
    this.timer = this.clock.timer(this.times.heartbeatMs, () => this.tick());
  }

  private tick(): void {
    if (this.link.failed) return;
    const { progress } = this.link;
    const moved = progress !== this.seen || this.link.holding;
    this.seen = progress;
    this.silent = moved ? 0 : this.silent + 1;
    const limitMs = this.times.peerTimeoutMs + this.excusedMs;
    if (this.silent * this.times.heartbeatMs >= limitMs) {
      this.link.fail(new VmError(`no sign of life from the peer for ${limitMs} ms`));
      return;
    }
    this.beat();
    this.arm();
  }
}

export class PrimaryHeartbeat extends Watch {
  private seq = 0;
  private readonly asked = new Map<number, Moment>();

  /** A ping now; its answer is a proof from now on. */
  beat(): void {
    this.seq++;
    this.asked.set(this.seq, momentOf(this.clock));
    this.asked.delete(this.seq - openPings);
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
