/** Migration and its capabilities and parameters. */
import { VmError, assert, asVmError } from '../../base/errors.js';
import { type CapabilityName, type Colo, capabilityNames } from '../../colo/colo.js';
import type { Address } from '../../host/ports.js';
import type { DiskSyncInfo } from '../../colo/disk-sync.js';
import { pageBytes } from '../../migration/pages.js';
import { syncSides } from '../../migration/manifest.js';
import type { MigrationData } from '../../migration/status.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import type { Vm } from '../../vm/vm.js';
import type { Capability, MigrationControl, MigrationInfo, SocketAddress } from '../vm.js';

export function migrationControl({
  colo,
  machine,
  host,
}: Pick<Vm, 'colo' | 'machine' | 'host'>): MigrationControl {
  return {
    start: uri => {
      colo.migrate(uri);
      return Promise.resolve();
    },
    incoming: async uri => {
      if (machine.spec.incoming === undefined)
        throw new VmError("'-incoming' was not specified on the command line");
      if (machine.runState !== 'inmigrate')
        throw new VmError('The incoming migration has already been started');
      if (isAddress(parseMigrationUri(uri, 'listen'))) await colo.listen(uri);
      else
        colo
          .load(uri)
          .catch((error: unknown) =>
            host.note(`migrate_incoming ${uri}: ${asVmError(error).message}`),
          );
    },
    cancel: () => colo.cancel(),
    info: () => ({
      ...migrationInfo(colo.query()),
      disk: diskInfo(colo.info().disks),
      'socket-address': colo.waitsAt && [socketAddress(colo.waitsAt)],
    }),
    capabilities: () =>
      [...colo.capability].map(([capability, on]): Capability => ({ capability, state: on })),
    setCapabilities: changes => {
      for (const { capability, state } of changes)
        colo.setCapability(capabilityName(capability), state);
    },
    parameters: () => ({
      'max-bandwidth': colo.parameters.maxBandwidth,
      'downtime-limit': colo.parameters.downtimeLimitMs,
      'x-checkpoint-delay': colo.info().checkpointDelayMs,
      'x-checkpoint-events': machine.lifecycle.checkpointEvents,
      'x-heartbeat-interval': colo.heartbeat.heartbeatMs,
      'x-heartbeat-timeout': colo.heartbeat.peerTimeoutMs,
      'x-sync-from': colo.syncFrom ?? 'none',
    }),
    setParameters: changes => {
      const ms = (name: string) =>
        Object.hasOwn(changes, name) ? Number(changes[name]) : undefined;
      const heartbeatMs = ms('x-heartbeat-interval');
      const peerTimeoutMs = ms('x-heartbeat-timeout');
      // First, for it may be refused, and then nothing is to be changed.
      colo.setHeartbeat({ heartbeatMs, peerTimeoutMs });
      for (const [name, value] of Object.entries(changes))
        setParameter(colo, machine.lifecycle, name, value);
    },
  };
}

function capabilityName(name: string): CapabilityName {
  const known = capabilityNames.find(one => one === name);
  assert(known !== undefined, `capability ${name} is known`);
  return known;
}

function setParameter(
  colo: Colo,
  lifecycle: { checkpointEvents: boolean },
  name: string,
  value: number | boolean | string,
): void {
  if (name === 'x-checkpoint-delay') colo.setCheckpointDelay(Number(value));
  else if (name === 'x-checkpoint-events') lifecycle.checkpointEvents = Boolean(value);
  else if (name === 'x-sync-from') colo.syncFrom = syncSides.find(side => side === value);
  else if (name === 'max-bandwidth') colo.parameters.maxBandwidth = Number(value);
  else if (name === 'downtime-limit') colo.parameters.downtimeLimitMs = Number(value);
}

function diskInfo(disks: DiskSyncInfo | undefined): MigrationInfo['disk'] {
  if (!disks) return undefined;
  const { phase, doneBytes, totalBytes } = disks;
  const remaining = Math.max(0, totalBytes - doneBytes);
  return { phase, transferred: doneBytes, remaining, total: totalBytes };
}

/** As QAPI has it. */
function socketAddress(at: Address): SocketAddress {
  if (at.kind === 'unix') return { type: 'unix', path: at.path };
  return { type: 'inet', host: at.host, port: String(at.port) };
}

function migrationInfo(data: MigrationData): MigrationInfo {
  if (data.status === 'none') return {};
  const rounded = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms));
  const sent = data.outgoing && {
    duplicate: data.zeroPages,
    normal: data.normalPages,
    'normal-bytes': data.normalPages * pageBytes,
    mbps: Math.round(data.bytesPerMs * 8) / 1000,
    'dirty-pages-rate': data.dirtyRate,
  };
  return {
    status: data.status,
    ram: {
      transferred: data.transferredBytes,
      remaining: data.remainingPages * pageBytes,
      total: data.ramTotalBytes,
      ...sent,
      'dirty-sync-count': data.passes,
      'page-size': pageBytes,
    },
    'total-time': Math.round(data.totalMs),
    'setup-time': rounded(data.setupMs),
    downtime: rounded(data.downtimeMs),
    'expected-downtime': rounded(data.expectedDowntimeMs),
    'error-desc': data.error,
    ...(data.lasting && { 'error-lasting': true }),
  };
}
