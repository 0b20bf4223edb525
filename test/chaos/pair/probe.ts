/**
 * What leaves each host in the guest's name, seen at the host's own network, and whether it is the
 * word of one side at a time. The answers of the guest are numbered, and the client asks for the
 * next one only when it has the one before.
 */
import type { Disposable } from '../../../src/base/disposable.js';
import { NodeTaps } from '../../../src/host/node/taps.js';
import { guestAt, type HostName, hostNames, probeOf } from './hosts.js';

export interface SeenAnswer {
  readonly number: number;
  readonly from: HostName;
  readonly atMs: number;
}

const ETHERNET = 14;
const IPV4 = 0x0800;
const TCP = 6;

export class AnswerProbe implements Disposable {
  private readonly taps = hostNames.map(name => {
    const tap = new NodeTaps().open(probeOf(name));
    tap.onFrame(frame => this.frame(name, Buffer.from(frame)));
    return tap;
  });
  private seen: SeenAnswer[] = [];

  /** Since the last time. */
  take(): SeenAnswer[] {
    const taken = this.seen;
    this.seen = [];
    return taken;
  }

  dispose(): void {
    for (const tap of this.taps) tap.dispose();
  }

  private frame(from: HostName, frame: Buffer): void {
    const text = answerIn(frame);
    const number = /^(\d+) \d+ \d+\n$/.exec(text ?? '')?.[1];
    if (number !== undefined)
      this.seen.push({ number: Number(number), from, atMs: performance.now() });
  }
}

/** The payload of a TCP segment from the guest's port; undefined: it is none. */
function answerIn(frame: Buffer): string | undefined {
  if (frame.length < ETHERNET + 40 || frame.readUInt16BE(12) !== IPV4) return undefined;
  const packet = frame.subarray(ETHERNET);
  const tcp = packet.subarray((packet[0] & 15) * 4, packet.readUInt16BE(2));
  const fromGuest = packet[9] === TCP && packet.subarray(12, 16).join('.') === guestAt.guest;
  if (!fromGuest || tcp.length < 20 || tcp.readUInt16BE(0) !== guestAt.port) return undefined;
  return tcp.subarray((tcp[12] >> 4) * 4).toString('latin1');
}

/** Who answered, as far as it has been judged. */
export interface AnswerHistory {
  side: HostName | undefined;
  /** Both sides have given this one, which a takeover repeats. */
  shared: number | undefined;
  last: number;
  handovers: number;
}

export const noAnswers = (): AnswerHistory => ({
  side: undefined,
  shared: undefined,
  last: 0,
  handovers: 0,
});

/**
 * Goes on from the history; gives what is wrong. Sorted by number, since the reading of two taps
 * says little about the order of two frames: a side that takes over repeats one answer at most, and
 * the other one is silent from there on.
 */
export function judgeAnswers(history: AnswerHistory, seen: readonly SeenAnswer[]): string[] {
  const wrong: string[] = [];
  const sides = new Map<number, Set<HostName>>();
  for (const { number, from } of seen) {
    const set = sides.get(number) ?? new Set();
    sides.set(number, set.add(from));
  }
  for (const [number, from] of [...sides].sort(([a], [b]) => a - b)) {
    const { side, shared, last } = history;
    const both = from.size === 2;
    const other = [...from].find(name => name !== side);
    if (number < last)
      wrong.push(`answer ${number} was given again by ${[...from].join()} after ${last}`);
    if (both && shared !== undefined && shared === number - 1)
      wrong.push(`both sides gave answers ${shared} and ${number}`);
    if (other !== undefined) {
      if (side !== undefined) history.handovers++;
      history.side = other;
    }
    history.shared = both ? number : undefined;
    history.last = Math.max(last, number);
  }
  return wrong;
}
