/**
 * `colo status NAME --wait lost`: until the pair stands so. It looks at how the pair stands, not
 * at events, so what happened before it was asked counts too.
 */
import { VmError } from '../base/errors.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import type { PairStanding } from '../qapi/types.js';
import { vmLine } from './survey.js';

export const awaited = ['protected', 'lost', 'alone'] as const;
export type Awaited = (typeof awaited)[number];

/** From there nothing leads anywhere else. */
const over: readonly (PairStanding | 'unknown')[] = ['superseded', 'broken', 'ended'];
const POLL_MS = 500;
const ANSWER_MS = 30_000;

/** VmError: it did not come to that within the time, or can never. */
export async function untilPair(
  client: QmpClient,
  wanted: Awaited,
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  const { wait, gone } = signs(client);
  for (;;) {
    const { pair } = vmLine('', await client.execute('query-vm', undefined, ANSWER_MS));
    if (pair === wanted) return;
    if (over.includes(pair)) throw new VmError(`the pair is ${pair}: it never becomes ${wanted}`);
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) {
      throw new VmError(`the pair is ${pair}, not ${wanted}, after ${timeoutMs / 1000} s`);
    }
    await wait(Math.min(POLL_MS, leftMs));
    if (gone()) throw new VmError(`the VM has ended before the pair was ${wanted}`);
  }
}

/** An event says that something may have changed, so nobody waits for the next look. */
function signs(client: QmpClient): { wait(ms: number): Promise<void>; gone(): boolean } {
  let wake: () => void = () => undefined;
  let ended = false;
  client.onEvent(({ event }) => void (event === 'COLO_EXIT' && wake()));
  client.onEnd(() => {
    ended = true;
    wake();
  });
  const wait = (ms: number) =>
    new Promise<void>(resolve => {
      if (ended) return resolve();
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  return { wait, gone: () => ended };
}
