/** Migration URIs: `tcp:HOST:PORT` (host `0` or none = any address), `tcp:[::1]:PORT`, `unix:PATH`. */
import { VmError } from '../base/errors.js';
import type { Address } from '../host/ports.js';

const notOffered = ['fd', 'exec', 'rdma', 'file', 'vsock'];

export function parseMigrationUri(uri: string, use: 'connect' | 'listen'): Address {
  const colon = uri.indexOf(':');
  const scheme = uri.slice(0, Math.max(colon, 0));
  if (notOffered.includes(scheme)) throw new VmError(`migration over '${scheme}:' is not offered`, { hint: 'use tcp:HOST:PORT or unix:PATH' });
  if (scheme === 'unix') return unixAddress(uri.slice(colon + 1));
  if (scheme === 'tcp') return tcpAddress(uri, uri.slice(colon + 1), use);
  throw new VmError(`unknown migration protocol: ${uri}`, { hint: 'use tcp:HOST:PORT or unix:PATH' });
}

function unixAddress(path: string): Address {
  if (path === '') throw new VmError('migration over unix: needs a path');
  // sun_path holds 108 bytes with its end mark
  if (Buffer.byteLength(path) > 107) throw new VmError(`UNIX socket path '${path}' is too long`);
  return { kind: 'unix', path };
}

function tcpAddress(uri: string, rest: string, use: 'connect' | 'listen'): Address {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(rest);
  if (!match) throw new VmError(`'${uri}' is not tcp:HOST:PORT`);
  const port = Number(match[3]);
  if (port > 65535 || (port === 0 && use === 'connect')) throw new VmError(`'${uri}': port ${match[3]} is not possible`);
  const host = match[1] ?? match[2];
  if (host !== '' && host !== '0') return { kind: 'tcp', host, port };
  if (use === 'connect') throw new VmError(`'${uri}' names no host to connect to`);
  return { kind: 'tcp', host: '0.0.0.0', port };
}
