/**
 * Before the secondary's network opens, the primary's must be shut. Ways to know: it says
 * `stopped`; it has said that it left, and it shuts its gate before it says so; its end of a local
 * connection (a Unix socket, or TCP on loopback whose other end its own process is seen to hold) is
 * closed (its process can never read another `vmstate-received` or `pong`); or the
 * lease of the last answer that we gave it has run out on its clock, which ours outlasts by a
 * margin. A reset or an end that came over a network proves nothing: a router or a tunnel may have
 * made it, of a primary that lives and still releases.
 */
import type { Clock } from '../host/ports.js';
import type { Link } from '../migration/link.js';
import { sleep } from '../migration/wait.js';
import type { Message } from './messages.js';
import { trace } from './trace.js';

export interface FenceTimes {
  /** The primary's own, from its hello. */
  leaseMs: number;
  leaseMarginMs: number;
  stopTimeoutMs: number;
}

export type FenceResult = 'peer-closed' | 'stopped' | 'peer-left' | 'lease-over' | 'peer-alone';

export interface FenceInput {
  /** Settles when the primary says so; it may have said so before. */
  stopped: Promise<void>;
  peerAlone: Promise<void>;
  /** It has said that it left COLO. */
  peerLeft: boolean;
  /**
   * An arbiter has this side go on: the primary will not be told to, so there is no word of it to
   * wait for. That its output is shut must still be known.
   */
  decided: boolean;
  /** By bootMs. */
  lastGrantMs: number | undefined;
}

/**
 * How long a lease may last by our clock, whatever the other clock does: 5 % at least, no two drift
 * further apart.
 */
export const leaseEndMs = ({
  leaseMs,
  leaseMarginMs,
}: Pick<FenceTimes, 'leaseMs' | 'leaseMarginMs'>): number =>
  leaseMs + Math.max(leaseMarginMs, leaseMs / 20);

/**
 * Bounded by the stop time-out and the lease. Since the last grant nothing may have been granted.
 */
export async function fence(
  link: Link<Message>,
  clock: Clock,
  times: FenceTimes,
  input: FenceInput,
): Promise<FenceResult> {
  const result = await fenceBy(link, clock, times, input);
  trace.fence?.({ result });
  return result;
}

async function fenceBy(
  link: Link<Message>,
  clock: Clock,
  times: FenceTimes,
  { stopped, peerAlone, peerLeft, decided, lastGrantMs }: FenceInput,
): Promise<FenceResult> {
  const answers: Promise<FenceResult>[] = [
    peerAlone.then(() => 'peer-alone'),
    stopped.then(() => 'stopped'),
  ];
  if (link.local) answers.push(link.gone().then(() => 'peer-closed'));
  if (!link.peerGone) link.post({ type: 'stop-request' });
  const waitMs = decided ? 0 : times.stopTimeoutMs;
  const noAnswer = [link.gone(), sleep(clock, waitMs)].map(late => late.then(() => undefined));
  const early = await Promise.race([...answers, ...noAnswer]);
  if (early) return early;
  if (peerLeft) return 'peer-left';
  const over = (lastGrantMs ?? clock.bootMs()) + leaseEndMs(times);
  const left = Math.max(0, over - clock.bootMs());
  return Promise.race([...answers, sleep(clock, left).then((): FenceResult => 'lease-over')]);
}
