/** `colo switchover ADDRESS`: x-colo-switchover, and what is to be done next, if anything. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { QmpClient } from '../monitor/qmp/client.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { type VmLine, vmLine } from './survey.js';

const LOOK_MS = 250;
/** A supervisor has noticed by then. */
const SUPERVISOR_MS = 3000;

export class Switchover extends ClientCommand {
  static override readonly summary = 'swap the roles of a pair: the secondary gets the guest';
  static override readonly description =
    'For a planned stop of the host that has the guest. Give it to the primary of a pair that is ' +
    'in step: the guest stands still for one checkpoint, and goes on at the other side with all ' +
    'its connections. Here it never runs again: with `colo run` on both hosts this side comes ' +
    'back by itself as the secondary, otherwise it is started as that. Refused where the pair ' +
    'is not in step, and with an exec: arbiter, whose agent would switch a host off. ' +
    'Returns when the other side has the guest.';
  static override readonly examples = [
    '<%= config.bin %> switchover web-primary',
    '<%= config.bin %> switchover web-primary --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = { timeout: timeoutFlag };

  async run(): Promise<VmLine & { restarted: boolean }> {
    const { args, flags } = await this.parse(Switchover);
    const timeoutMs = flags.timeout * 1000;
    return this.withClient(args.address, timeoutMs, async client => {
      const before = vmLine(args.address, await client.execute('query-vm', undefined, timeoutMs));
      await client.execute('x-colo-switchover', undefined, timeoutMs);
      const now = await look(client);
      const line = now === undefined ? before : vmLine(before.name, now);
      const other = before.peer ?? 'its peer';
      if (!this.jsonEnabled()) this.log(`the guest of ${args.address} is at ${other} now`);
      const restarted = await ends(client);
      if (!this.jsonEnabled()) this.log(restarted ? SUPERVISED : next(args.address));
      return { ...line, restarted };
    });
  }
}

const SUPERVISED = 'this side is started again, as the secondary, by its supervisor';

const next = (address: string) =>
  `this side holds an old state now; to have the guest protected again, end it and start it as\n` +
  `the secondary: colo qmp ${address} quit, then colo secondary --config FILE --side a|b, and\n` +
  'on the other host: colo protect NAME --config FILE';

const look = (client: QmpClient) =>
  client.execute('query-vm', undefined, LOOK_MS * 4).catch(() => undefined);

/** Its process is ended, because the other side has the guest. */
async function ends(client: QmpClient): Promise<boolean> {
  for (const end = performance.now() + SUPERVISOR_MS; performance.now() < end;) {
    if ((await look(client)) === undefined) return true;
    await sleep(LOOK_MS);
  }
  return false;
}
