/**
 * What the client commands share: an address, time-outs, a connection that is closed in any case.
 */
import { Args, Flags } from '@oclif/core';
import { asVmError } from '../base/errors.js';
import { errorCode } from '../host/node/errors.js';
import type { QmpClient } from '../monitor/qmp/client.js';
import { connectQmp } from './connect.js';
import { parseAddress } from './address.js';
import { BaseCommand } from './base.js';
import { isVmName, noSuchVm } from './names.js';

export const addressArg = Args.string({
  ignoreStdin: true,
  required: true,
  description: '-name of a VM on this host, or unix:PATH or tcp:HOST:PORT of a -qmp socket',
});
/** 23 days: a timer has no more. */
const MAX_TIMEOUT_SECONDS = 2_000_000;
export const timeoutFlag = Flags.integer({
  default: 30,
  min: 1,
  max: MAX_TIMEOUT_SECONDS,
  description: 'seconds to wait for an answer',
});
const CONNECT_TIMEOUT_MS = 5000;

export abstract class ClientCommand extends BaseCommand {
  protected async withClient<T>(
    address: string,
    timeoutMs: number,
    use: (client: QmpClient) => Promise<T>,
  ): Promise<T> {
    const limitMs = Math.min(CONNECT_TIMEOUT_MS, timeoutMs);
    const connecting = connectQmp(parseAddress(address), limitMs);
    const client = await connecting.catch(async (error: unknown) => {
      const code = errorCode(asVmError(error).options.cause) ?? '';
      const gone = isVmName(address) && ['ENOENT', 'ECONNREFUSED'].includes(code);
      throw gone ? await noSuchVm(address) : error;
    });
    try {
      return await use(client);
    } finally {
      client.dispose();
    }
  }
}
