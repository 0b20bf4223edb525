/** The options of driver `nbd`, and a file name that is an NBD URI. */
import { VmError } from '../../base/errors.js';
import type { Address } from '../../host/ports.js';
import type { OptionTree } from './option-tree.js';
import { NBD_PORT, parseNbdUri } from './nbd-uri.js';

export interface NbdSpec {
  driver: 'nbd';
  address: Address;
  exportName: string;
  /** For connecting and the handshake, together. */
  openTimeoutMs: number;
  /** At the start: for how long to try again while no server answers. */
  openRetryMs: number;
  requestTimeoutMs: number;
  /** How long requests wait for a lost server. */
  reconnectDelayMs: number;
  /** The tls-creds object. */
  tlsCreds?: string;
  tlsHostname?: string;
}

const OPEN_TIMEOUT_MS = 10_000;
/** A replica that takes longer than this is as good as gone: its epoch ends. */
const REQUEST_TIMEOUT_MS = 10_000;

/** host and port, path, server.*; or uri=. */
export function readNbd(options: OptionTree): NbdSpec {
  const uri = options.string('uri') ?? options.string('filename');
  if (uri !== undefined) return readNbdUri(uri, options);
  return {
    driver: 'nbd',
    address: readServer(options),
    exportName: options.string('export') ?? '',
    ...readRest(options, false),
  };
}

/** options: what may stand beside the name. */
export function readNbdUri(text: string, options: OptionTree): NbdSpec {
  const { address, exportName, tls } = parseNbdUri(text);
  return { driver: 'nbd', address, exportName, ...readRest(options, tls) };
}

function readRest(
  options: OptionTree,
  tls: boolean,
): Omit<NbdSpec, 'driver' | 'address' | 'exportName'> {
  const seconds = (key: string, least: number) => {
    const value = options.integer(key, least, 3600);
    return value === undefined ? undefined : value * 1000;
  };
  const openMs = seconds('open-timeout', 1);
  const tlsCreds = options.string('tls-creds');
  const tlsHostname = options.string('tls-hostname');
  if (tls && tlsCreds === undefined)
    throw new VmError(
      `nbds: parameter '${options.full('tls-creds')}' is missing: the id of a tls-creds-x509 ` +
        'or tls-creds-psk object',
    );
  if (tlsHostname !== undefined && tlsCreds === undefined)
    throw new VmError(`parameter '${options.full('tls-hostname')}' goes with tls-creds`);
  return {
    openTimeoutMs: openMs ?? OPEN_TIMEOUT_MS,
    openRetryMs: openMs ?? 0,
    requestTimeoutMs: seconds('x-request-timeout', 1) ?? REQUEST_TIMEOUT_MS,
    reconnectDelayMs: seconds('reconnect-delay', 0) ?? 0,
    tlsCreds,
    tlsHostname,
  };
}

function readServer(options: OptionTree): Address {
  const server = options.sub('server') ?? options;
  const type = server === options ? undefined : server.oneOf('type', ['inet', 'unix']);
  const path = server.string('path');
  const host = server.string('host');
  const port = server.integer('port', 1, 65535);
  if (server !== options) server.end(" to driver 'nbd'");
  if (path !== undefined) {
    if (host !== undefined || port !== undefined || type === 'inet')
      throw new VmError(`parameter '${server.full('path')}' and host or port exclude each other`);
    return { kind: 'unix', path };
  }
  if (host === undefined) throw new VmError(`parameter '${server.full('host')}' is missing`);
  return { kind: 'tcp', host, port: port ?? NBD_PORT };
}
