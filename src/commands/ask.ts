/**
 * A question before a step that cannot be taken back: asked on a terminal, answered by --yes in
 * scripts.
 */
import { createInterface } from 'node:readline/promises';
import { VmError } from '../base/errors.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { failoverDoubt } from '../monitor/health.js';
import { healthFrom } from './survey.js';

/** Throws unless the answer is yes. */
export async function confirm(what: string, { yes }: { yes: boolean }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new VmError(what, { hint: 'If this is meant: --yes.' });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>(resolve => terminal.once('close', () => resolve('')));
  try {
    const answer = await Promise.race([
      terminal.question(`${what}\nGo on all the same? [y/N] `),
      ended,
    ]);
    if (!/^y(es)?$/i.test(answer.trim())) throw new VmError('nothing was done');
  } finally {
    terminal.close();
  }
}

/** What speaks against a failover now; undefined: nothing that can be seen from here. */
export async function doubtOf(client: QmpClient, timeoutMs: number): Promise<string | undefined> {
  return failoverDoubt(healthFrom(await client.execute('query-vm', undefined, timeoutMs)));
}
