/** What the client commands share: an address, time-outs, a connection that is closed in any case. */
import { Args, Flags } from '@oclif/core';
import { QmpClient } from '../monitor/qmp/client.js';
import { NodeClock } from '../host/node/clock.js';
import { NodeSockets } from '../host/node/sockets.js';
import { parseAddress } from './address.js';
import { BaseCommand } from './base.js';

export const addressArg = Args.string({ required: true, description: 'unix:PATH or tcp:HOST:PORT of a -qmp socket' });
export const timeoutFlag = Flags.integer({ default: 30, min: 1, description: 'seconds to wait for an answer' });
const connectTimeoutMs = 5000;

export abstract class ClientCommand extends BaseCommand {
  protected async withClient<T>(address: string, timeoutMs: number, use: (client: QmpClient) => Promise<T>): Promise<T> {
    const client = await QmpClient.connect({ sockets: new NodeSockets(), clock: new NodeClock() }, parseAddress(address), Math.min(connectTimeoutMs, timeoutMs));
    try {
      return await use(client);
    } finally {
      client.dispose();
    }
  }
}
