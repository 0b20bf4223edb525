/**
 * A line of HMP over QMP. A server does not wait there for a migration, it goes on detached; the
 * user who typed `migrate` without -d wants to know how it ends, so we wait for it here.
 */
import type { QmpClient } from '../monitor/qmp/client.js';
import { isObject } from '../words/types.js';

const detached = /^terminal does not allow synchronous migration/m;
const over = new Set<string | undefined>([
  'completed',
  'failed',
  'cancelled',
  'colo',
  'none',
  undefined,
]);
const POLL_MS = 100;

type Run = () => Promise<string>;

export async function runLine(client: QmpClient, timeoutMs: number, run: Run): Promise<string> {
  const output = await run();
  return detached.test(output) ? untilOver(client, timeoutMs) : output;
}

/** As long as it gets on; a migration that stands still for the time-out is reported as that. */
async function untilOver(client: QmpClient, timeoutMs: number): Promise<string> {
  let seen = '';
  let movedMs = performance.now();
  for (;;) {
    const info = await client.execute('query-migrate', undefined, timeoutMs);
    const { ram, disk, ...rest } = isObject(info) ? info : {};
    const status = text(rest['status']);
    if (over.has(status)) return result(status, text(rest['error-desc']));
    const now = JSON.stringify({ status, ram, disk });
    if (now !== seen) movedMs = performance.now();
    seen = now;
    if (performance.now() - movedMs > timeoutMs) {
      const seconds = timeoutMs / 1000;
      return `Error: nothing of the migration has moved for ${seconds} s (${status}); it goes on\n`;
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
}

const text = (value: unknown) => (typeof value === 'string' ? value : undefined);

function result(status: string | undefined, error: string | undefined): string {
  if (status === 'failed') return `Error: ${error ?? 'the migration failed'}\n`;
  return `Migration status: ${status ?? 'none'}\n`;
}
