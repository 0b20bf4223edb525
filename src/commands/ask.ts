/** A question before a step that cannot be taken back: asked on a terminal, answered by --yes in scripts. */
import { createInterface } from 'node:readline/promises';
import { VmError } from '../base/errors.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { isObject } from '../monitor/types.js';

/** Throws unless the answer is yes. */
export async function confirm(what: string, { yes }: { yes: boolean }): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) throw new VmError(what, { hint: 'If this is meant: --yes.' });
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const ended = new Promise<string>(resolve => terminal.once('close', () => resolve('')));
  try {
    const answer = await Promise.race([terminal.question(`${what}\nGo on all the same? [y/N] `), ended]);
    if (!/^y(es)?$/i.test(answer.trim())) throw new VmError('nothing was done');
  } finally {
    terminal.close();
  }
}

/** What speaks against a failover now; undefined: nothing that can be seen from here. */
export async function peerStillAnswers(client: QmpClient, timeoutMs: number): Promise<string | undefined> {
  const vm = await client.execute('query-vm', undefined, timeoutMs);
  if (!isObject(vm) || vm['protected'] !== true) return undefined;
  const other = vm['role'] === 'secondary' ? 'primary' : 'secondary';
  const consequence = other === 'primary' ? 'it is told to stop, and the guest goes on here' : 'the guest goes on here, and the secondary is of no use any more';
  return `The ${other} ${typeof vm['peer'] === 'string' ? `at ${vm['peer']} ` : ''}still answers: ${consequence}.`;
}

/** For a line editor: a failover while the peer still answers is carried out when the same line comes twice in a row. */
export function failoverGuard(client: QmpClient, timeoutMs: number): (line: string) => Promise<string | undefined> {
  let asked = false;
  return async line => {
    const again = asked;
    asked = false;
    if (line.trim() !== 'x_colo_lost_heartbeat' || again) return undefined;
    const objection = await peerStillAnswers(client, timeoutMs).catch(() => undefined); // a QEMU has no query-vm, and asks nothing
    if (objection === undefined) return undefined;
    asked = true;
    return `${objection}\nIf this is meant: enter the same line again.\n`;
  };
}
