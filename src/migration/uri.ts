/**
 * Migration URIs: `tcp:HOST:PORT` (host `0` or none = any address), `tcp:[::1]:PORT`, `unix:PATH`,
 * `file:PATH[,offset=N]`, `exec:COMMAND`. A file and a command carry the state one way.
 */
import { VmError } from '../base/errors.js';
import type { Address } from '../host/ports.js';
import { integerOf, portOf, splitHostPort } from '../words/scalars.js';

export type Endpoint =
  Address | { kind: 'file'; path: string; offset: number } | { kind: 'exec'; command: string };

/** What can be listened on and connected to. */
export const isAddress = (endpoint: Endpoint): endpoint is Address =>
  endpoint.kind === 'tcp' || endpoint.kind === 'unix';

/** A URI that is to be reached over a socket: `what` names it in the refusal. */
export function parseSocketUri(uri: string, use: 'connect' | 'listen', what: string): Address {
  const endpoint = parseMigrationUri(uri, use);
  if (!isAddress(endpoint))
    throw new VmError(`${what}: ${endpoint.kind}: is no address of a peer`, {
      hint: 'use tcp:HOST:PORT or unix:PATH',
    });
  return endpoint;
}

const notOffered = ['fd', 'rdma', 'vsock'];
const HINT = 'use tcp:HOST:PORT, unix:PATH, file:PATH or exec:COMMAND';

export function parseMigrationUri(uri: string, use: 'connect' | 'listen'): Endpoint {
  const colon = uri.indexOf(':');
  const scheme = uri.slice(0, Math.max(colon, 0));
  const rest = uri.slice(colon + 1);
  if (notOffered.includes(scheme))
    throw new VmError(`migration over '${scheme}:' is not offered`, { hint: HINT });
  if (scheme === 'unix') return unixAddress(rest);
  if (scheme === 'tcp') return tcpAddress(uri, rest, use);
  if (scheme === 'file') return fileEndpoint(rest);
  if (scheme === 'exec') {
    if (rest.trim() === '') throw new VmError('migration over exec: needs a command');
    return { kind: 'exec', command: rest };
  }
  throw new VmError(`unknown migration protocol: ${uri}`, { hint: HINT });
}

function unixAddress(path: string): Address {
  if (path === '') throw new VmError('migration over unix: needs a path');
  // sun_path holds 108 bytes with its end mark
  if (Buffer.byteLength(path) > 107) throw new VmError(`UNIX socket path '${path}' is too long`);
  return { kind: 'unix', path };
}

function tcpAddress(uri: string, rest: string, use: 'connect' | 'listen'): Address {
  const where = splitHostPort(rest);
  if (!where) throw new VmError(`'${uri}' is not tcp:HOST:PORT`);
  const port = portOf(where.port);
  if (port === undefined || (port === 0 && use === 'connect'))
    throw new VmError(`'${uri}': port ${where.port} is not possible`);
  const { host } = where;
  if (host !== '' && host !== '0') return { kind: 'tcp', host, port };
  if (use === 'connect') throw new VmError(`'${uri}' names no host to connect to`);
  return { kind: 'tcp', host: '0.0.0.0', port };
}

/** The last `,offset=` counts: a path may hold commas. */
function fileEndpoint(rest: string): Endpoint {
  const match = /^(.*),offset=([^,]*)$/s.exec(rest);
  const path = match ? match[1] : rest;
  const offset = match ? integerOf(match[2]) : 0;
  if (path === '') throw new VmError('migration over file: needs a path');
  if (offset === undefined || offset < 0 || !Number.isSafeInteger(offset))
    throw new VmError(`offset=${match?.[2]} is not a number of bytes`);
  return { kind: 'file', path, offset };
}
