/** Waits with a limit. After it the operation counts as not done, and can be tried again. */
import { VmError } from '../../base/errors.js';
import type { Clock } from '../../host/ports.js';
import type { BlockNode } from '../contract/node.js';

/** Until the requests under way at a node are through. */
const REST_MS = 5000;

export class LateError extends VmError {}

/** Runs body with a promise that rejects after this time. */
export async function withDeadline<T>(
  clock: Clock,
  limitMs: number,
  what: string,
  body: (late: Promise<never>) => Promise<T>,
): Promise<T> {
  let timer: { dispose(): void } | undefined;
  const late = new Promise<never>(
    (_, reject) =>
      (timer = clock.timer(limitMs, () =>
        reject(new LateError(`${what} within ${limitMs / 1000} s`)),
      )),
  );
  late.catch(() => undefined);
  try {
    return await body(late);
  } finally {
    timer?.dispose();
  }
}

/** Nothing is read or changed at the node while body runs. */
export function atRest<T>(clock: Clock, node: BlockNode, body: () => Promise<T>): Promise<T> {
  return withDeadline(clock, REST_MS, `node '${node.name}' did not come to rest`, late =>
    node.quiesce('changes', late, () => node.quiesce('reads', late, body)),
  );
}
