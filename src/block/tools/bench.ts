/** A simple load on an image: a number of requests, some in parallel, at ascending offsets. */
import type { BlockNode } from '../contract/node.js';

export interface BenchOptions {
  readonly count: number;
  readonly depth: number;
  readonly bytes: number;
  readonly offset: number;
  readonly step: number;
  readonly write: boolean;
  readonly pattern: number;
  /** The number of writes between two flushes; 0: no flush. */
  readonly flushEvery: number;
  /** Requests under way end before a flush. */
  readonly drain: boolean;
}

export async function runBench(
  node: BlockNode,
  options: BenchOptions,
  nowMs: () => number,
): Promise<{ seconds: number }> {
  const { count, depth, bytes, step, write, flushEvery } = options;
  const data = Buffer.alloc(bytes, options.pattern);
  const startMs = nowMs();
  let at = options.offset;
  let sent = 0;
  let flushing: Promise<void> | undefined;
  const running = new Set<Promise<void>>();
  const request = async (offset: number) => {
    if (write) await node.pwrite(offset, data);
    else await node.pread(offset, bytes);
  };
  const lane = async () => {
    while (sent < count) {
      if (flushing) await flushing;
      if (sent >= count) return;
      sent++;
      const offset = at;
      at += step;
      if (at + bytes > node.length) at %= Math.max(1, node.length - bytes + 1);
      at -= at % 512;
      const mine = request(offset);
      running.add(mine);
      if (flushEvery > 0 && sent % flushEvery === 0) {
        flushing = (
          options.drain ? Promise.all(running).then(() => node.flush()) : node.flush()
        ).finally(() => (flushing = undefined));
      }
      await mine.finally(() => running.delete(mine));
    }
  };
  await Promise.all(Array.from({ length: Math.min(depth, count) }, lane));
  await flushing;
  return { seconds: (nowMs() - startMs) / 1000 };
}
