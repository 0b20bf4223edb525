/**
 * The file names that mean an NBD server: nbd://HOST[:PORT]/EXPORT and its kin (NBD project,
 * doc/uri.md), and QEMU's older nbd:HOST:PORT.
 */
import { portOf } from '../../words/scalars.js';
import { VmError } from '../../base/errors.js';
import type { Address } from '../../host/ports.js';

export const NBD_PORT = 10809;

export interface NbdTarget {
  address: Address;
  exportName: string;
  tls: boolean;
}

export const isNbdUri = (text: string): boolean => /^nbds?(\+unix|\+tcp)?:/.test(text);

export function parseNbdUri(text: string): NbdTarget {
  const uri = /^(nbds?)(\+unix|\+tcp)?:\/\/([^/?]*)(\/[^?]*)?(?:\?(.*))?$/.exec(text);
  if (uri) return fromUri(text, uri);
  const old = /^nbd:(?:unix:([^:]+)|(\[[^\]]+\]|[^:]+):([0-9]+))(?::exportname=(.*))?$/.exec(text);
  if (!old) throw bad(text, 'say nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH');
  const address: Address =
    old[1] !== undefined
      ? { kind: 'unix', path: old[1] }
      : { kind: 'tcp', host: bare(old[2]), port: portIn(text, old[3]) };
  return { address, exportName: old[4] ?? '', tls: false };
}

function fromUri(
  text: string,
  [, scheme, transport, authority, path, query]: RegExpExecArray,
): NbdTarget {
  const exportName = decoded(text, (path ?? '').slice(1));
  const tls = scheme === 'nbds';
  const parameters = new Map(
    (query ?? '')
      .split('&')
      .filter(pair => pair !== '')
      .map((pair): [string, string] => {
        const [key, ...value] = pair.split('=');
        return [key, decoded(text, value.join('='))];
      }),
  );
  const socket = parameters.get('socket');
  for (const key of parameters.keys())
    if (key !== 'socket') throw bad(text, `parameter '${key}' is not known`);
  if (transport === '+unix') {
    if (socket === undefined || socket === '') throw bad(text, "'socket=PATH' is missing");
    if (authority !== '') throw bad(text, 'a host and a UNIX socket exclude each other');
    return { address: { kind: 'unix', path: socket }, exportName, tls };
  }
  if (socket !== undefined) throw bad(text, "'socket=' goes with nbd+unix");
  const where = /^(\[[^\]]+\]|[^:@]+)(?::([0-9]+))?$/.exec(authority);
  if (!where)
    throw bad(text, authority === '' ? 'the host is missing' : `'${authority}' is no HOST:PORT`);
  return {
    address: {
      kind: 'tcp',
      host: bare(decoded(text, where[1])),
      port: where[2] === undefined ? NBD_PORT : portIn(text, where[2]),
    },
    exportName,
    tls,
  };
}

const bare = (host: string) => host.replace(/^\[|\]$/g, '');

function portIn(text: string, digits: string): number {
  const port = portOf(digits);
  if (port === undefined || port === 0) throw bad(text, `port ${digits} is not from 1 to 65535`);
  return port;
}

function decoded(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw bad(text, `'${part}' is not encoded as a URI asks`);
  }
}

const bad = (text: string, why: string) =>
  new VmError(`'${text.slice(0, 200)}' is no NBD server: ${why}`);
