/**
 * A QMP client on this host's sockets. Loaded when it is wanted: most of what a command loads is
 * this.
 */
import type { Address } from '../host/ports.js';
import type { QmpClient } from '../monitor/qmp/client.js';

export async function connectQmp(address: Address, timeoutMs: number): Promise<QmpClient> {
  const [{ QmpClient }, { NodeSockets }, { NodeClock }] = await Promise.all([
    import('../monitor/qmp/client.js'),
    import('../host/node/sockets.js'),
    import('../host/node/clock.js'),
  ]);
  return QmpClient.connect(
    { sockets: new NodeSockets(), clock: new NodeClock() },
    address,
    timeoutMs,
  );
}
