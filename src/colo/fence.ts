/**
 * Before the secondary's network opens, the primary's must be shut. Three ways to know: its end of the connection is closed (its process
 * can never read another `vmstate-received` or `pong`, and it shuts its gate before it closes); it says `stopped`; or the lease of the last
 * answer that we gave it has run out on its clock, which ours outlasts by a margin.
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

export type FenceResult = 'peer-closed' | 'stopped' | 'lease-over' | 'peer-alone';

export interface FenceInput {
  /** Settles when the primary says so; it may have said so before. */
  stopped: Promise<void>;
  peerAlone: Promise<void>;
  lastGrantMs: number | undefined;
}

/** Bounded by the stop time-out and the lease. Since the last grant nothing may have been granted. */
export async function fence(link: Link<Message>, clock: Clock, times: FenceTimes, input: FenceInput): Promise<FenceResult> {
  const result = await fenceBy(link, clock, times, input);
  trace('fence', { result });
  return result;
}

async function fenceBy(link: Link<Message>, clock: Clock, times: FenceTimes, { stopped, peerAlone, lastGrantMs }: FenceInput): Promise<FenceResult> {
  const answer: Promise<FenceResult>[] = [peerAlone.then(() => 'peer-alone'), stopped.then(() => 'stopped'), link.gone().then(() => 'peer-closed')];
  if (!link.peerGone) link.post({ type: 'stop-request' });
  const early = await Promise.race([...answer, sleep(clock, times.stopTimeoutMs).then(() => undefined)]);
  if (early) return early;
  // 5 % at least: no two clocks drift further apart.
  const margin = Math.max(times.leaseMarginMs, times.leaseMs / 20);
  const over = (lastGrantMs ?? clock.nowMs()) + times.leaseMs + margin;
  const left = Math.max(0, over - clock.nowMs());
  return Promise.race([...answer, sleep(clock, left).then((): FenceResult => 'lease-over')]);
}
