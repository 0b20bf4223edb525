/**
 * Addresses that were asked for and can be reached from elsewhere: nothing there proves who speaks,
 * so it is said once.
 */
import type { CharSpec } from '../../chardev/contract.js';
import { staysHere } from '../../host/loopback.js';
import type { Address } from '../../host/ports.js';
import type { MachineSpec } from '../../machine/spec.js';
import { isAddress, parseMigrationUri } from '../../migration/uri.js';
import type { Launch } from './spec.js';

/** One line for each. */
export function reachableWarnings({
  spec,
  migration,
}: Pick<Launch, 'spec' | 'migration'>): string[] {
  const secured = migration.some(({ property, value }) => property === 'tls-creds' && value !== '');
  const incoming =
    spec.incoming === undefined || secured
      ? []
      : warn(
          `-incoming ${spec.incoming}`,
          incomingAddress(spec.incoming),
          'the state of the guest',
        );
  const channels = spec.chardevs.flatMap(({ id, backend }) =>
    warn(
      describe(spec, id),
      serverAddress(backend),
      spec.monitors.some(monitor => monitor.chardev === id)
        ? 'every command of this VM'
        : 'what the guest says there',
    ),
  );
  return [...incoming, ...channels];
}

function warn(what: string, address: Address | undefined, stake: string): string[] {
  if (address?.kind !== 'tcp' || staysHere(address)) return [];
  const where = ['', '0.0.0.0', '::'].includes(address.host)
    ? `every address of this host, port ${address.port}`
    : `${address.host}, port ${address.port}`;
  return [
    `warning: ${what} can be reached from elsewhere (${where}) without TLS: ${stake} is open ` +
      'to whoever gets there. Give it tls-creds, keep it to a network of its own, or use unix: ' +
      'or 127.0.0.1.',
  ];
}

function incomingAddress(uri: string): Address | undefined {
  const endpoint = uri === 'defer' ? undefined : parseMigrationUri(uri, 'listen');
  return endpoint && isAddress(endpoint) ? endpoint : undefined;
}

function serverAddress(backend: CharSpec): Address | undefined {
  const open = backend.kind === 'socket' && backend.server && backend.tlsCreds === undefined;
  return open ? backend.address : undefined;
}

function describe(spec: MachineSpec, id: string): string {
  const monitor = spec.monitors.find(({ chardev }) => chardev === id);
  if (monitor) return monitor.mode === 'qmp' ? '-qmp' : '-monitor';
  return spec.serials.includes(id) ? '-serial' : `-chardev id=${id}`;
}
