/**
 * `colo failover ADDRESS`: x-colo-lost-heartbeat with a look at the peer before, and at the result
 * after.
 */
import { Flags } from '@oclif/core';
import { asVmError, VmError } from '../base/errors.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { isObject } from '../words/types.js';
import { confirm, doubtOf } from './ask.js';
import { addressArg, ClientCommand, timeoutFlag } from './client.js';
import { adviceFor } from './status.js';
import { type VmLine, vmLine } from './survey.js';

const POLL_MS = 50;

export class Failover extends ClientCommand {
  static override readonly summary = 'the peer is lost: let this side go on alone';
  static override readonly description =
    'Give it to the side that shall live, and only when the other one is surely dead or cut off: ' +
    'two live sides spoil both disks. Where nobody can tell from here whether the other side ' +
    'still ' +
    'runs, it asks on a terminal, and needs --yes elsewhere. A peer that still answers is ' +
    'told to ' +
    'stop. Returns when the guest runs here.';
  static override readonly examples = [
    '<%= config.bin %> failover web-secondary',
    '<%= config.bin %> failover web-secondary --yes --json',
  ];
  static override readonly enableJsonFlag = true;
  static override readonly args = { address: addressArg };
  static override readonly flags = {
    yes: Flags.boolean({
      char: 'y',
      description: 'also where nobody can tell whether the other side still runs',
    }),
    timeout: timeoutFlag,
  };

  async run(): Promise<VmLine> {
    const { args, flags } = await this.parse(Failover);
    const timeoutMs = flags.timeout * 1000;
    return this.withClient(args.address, timeoutMs, async client => {
      const objection = await doubtOf(client, timeoutMs);
      if (objection !== undefined) await confirm(objection, flags);
      const order = client.execute('x-colo-lost-heartbeat', undefined, timeoutMs);
      await order.catch(async (error: unknown) => {
        throw await explained(client, error, args.address, timeoutMs);
      });
      const line = await runsAlone(client, args.address, timeoutMs);
      if (!this.jsonEnabled()) process.stdout.write(`${line.name} goes on alone: ${line.state}\n`);
      return line;
    });
  }
}

/**
 * Taking over may take long where overlays are merged; every answer is bounded, and so is the
 * whole.
 */
async function runsAlone(client: QmpClient, address: string, timeoutMs: number): Promise<VmLine> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const vm = await client.execute('query-vm', undefined, timeoutMs);
    const line = vmLine(isObject(vm) && typeof vm['name'] === 'string' ? vm['name'] : address, vm);
    // It was accepted: whatever stands there now is what came of it.
    if (['superseded', 'broken', 'lost'].includes(line.pair)) throw failed(vm, address);
    if (line.pair === 'alone' && line.state !== 'inmigrate' && line.state !== 'colo') return line;
    if (performance.now() > deadline) {
      const late = `after ${timeoutMs / 1000} s the guest does not run here yet (${line.state})`;
      const hint = `It goes on meanwhile: colo status ${address}`;
      throw new VmError(`the failover was accepted, but ${late}`, { hint });
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS));
  }
}

function failed(vm: unknown, address: string): VmError {
  const { text, todo } = adviceFor(vm, address);
  const hint = todo ?? `Look at it with: colo status ${address}`;
  return new VmError(`no failover: ${text}`, { hint });
}

/** Where there is nothing to fail over from, what there is. */
async function explained(
  client: QmpClient,
  error: unknown,
  address: string,
  timeoutMs: number,
): Promise<VmError> {
  const failure = asVmError(error);
  if (!/'colo' is not enabled|no complete first state/.test(failure.message)) return failure;
  const vm = await client.execute('query-vm', undefined, timeoutMs).catch(() => undefined);
  return failed(vm, address);
}
