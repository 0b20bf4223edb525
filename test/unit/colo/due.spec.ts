/**
 * Goal: a checkpoint is due after the delay; after the gap where output waits, and not before what
 * belongs to it has come. Method: a clock that goes on when a test says so.
 */
import { Due } from '../../../src/colo/due.js';
import type { Clock } from '../../../src/host/ports.js';

class Hand {
  ms = 0;
  private readonly timers = new Set<{ atMs: number; fn: () => void }>();
  readonly clock = {
    nowMs: () => this.ms,
    timer: (delayMs: number, fn: () => void) => {
      const timer = { atMs: this.ms + delayMs, fn };
      this.timers.add(timer);
      return { dispose: () => void this.timers.delete(timer) };
    },
  } as unknown as Clock;

  /** In steps of a quarter of a millisecond. */
  async until(ms: number): Promise<void> {
    for (; this.ms < ms; this.ms += 0.25) await this.ring();
    await this.ring();
  }

  private async ring(): Promise<void> {
    for (const timer of this.timers) {
      if (timer.atMs > this.ms) continue;
      this.timers.delete(timer);
      timer.fn();
    }
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  }
}

/** Its next checkpoint, after one that began at 0. */
function pair({ gapMs = 10, usualPauseMs = 0.5, abortedInRow = 0 } = {}) {
  const hand = new Hand();
  const side = { outputWaits: false, hurried: false };
  const cost = { usualPauseMs, abortedInRow };
  const due = new Due({
    clock: hand.clock,
    pace: { checkpointDelayMs: 100, checkpointGapMs: gapMs },
    cost,
    outputWaits: () => side.outputWaits,
    hurried: () => side.hurried,
  });
  due.begun();
  const at: number[] = [];
  const wait = () => void due.wait(woken => woken).then(() => at.push(hand.ms));
  const output = () => {
    side.outputWaits = true;
    due.kick();
  };
  return { at, due, hand, output, side, wait };
}

it('nothing waits: after the delay', async () => {
  const { at, hand, wait } = pair();
  wait();
  await hand.until(200);
  expect(at).toEqual([100]);
});

it.each([
  ['long after the last one: as soon as it has settled', 50, 51],
  ['soon after it: after the gap', 2, 10],
  ['at the end of the gap: as soon as it has settled', 9.5, 10.5],
  ['just before the delay is over: not later than that', 99.5, 100],
])('output waits %s', async (_name, beginsMs, dueMs) => {
  const { at, hand, output, wait } = pair();
  wait();
  await hand.until(beginsMs);
  output();
  await hand.until(200);
  expect(at).toEqual([dueMs]);
});

it('output that came while the last one was under way: after the gap, or at once', async () => {
  for (const [endsMs, dueMs] of [
    [3, 10],
    [40, 41],
  ]) {
    const { at, hand, output, wait } = pair();
    await hand.until(1);
    output();
    await hand.until(endsMs);
    wait();
    await hand.until(200);
    expect(at).toEqual([dueMs]);
  }
});

it('a gap as long as the delay: output changes nothing', async () => {
  const { at, hand, output, wait } = pair({ gapMs: 5000 });
  output();
  wait();
  await hand.until(200);
  expect(at).toEqual([100]);
});

it.each([
  ['pauses that are long: they take a tenth of the time', { usualPauseMs: 3 }, 30],
  ['pauses that are longer than the delay allows for', { usualPauseMs: 300 }, 100],
  ['the last one was given up: after the delay', { abortedInRow: 1 }, 100],
])('%s', async (_name, cost, dueMs) => {
  const { at, hand, output, wait } = pair(cost);
  output();
  wait();
  await hand.until(200);
  expect(at).toEqual([dueMs]);
});

it('asked for, or hurried: at once', async () => {
  for (const ask of ['request', 'hurried'] as const) {
    const { at, due, hand, side, wait } = pair();
    wait();
    await hand.until(5);
    if (ask === 'request') due.request();
    side.hurried = ask === 'hurried';
    due.kick();
    await hand.until(200);
    expect(at).toEqual([5]);
  }
});
