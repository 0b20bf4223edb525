/** Names of NBD exports: `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`, and QEMU's older `nbd:HOST:PORT[:exportname=EXPORT]`. */
import { VmError } from '../../base/errors.js';
import type { Address } from '../../host/ports.js';

const DEFAULT_PORT = 10809;

/** Undefined: no name of an NBD export. */
export function parseNbdUri(text: string): { address: Address; exportName: string } | undefined {
  if (/^nbds(\+unix|\+tcp)?:/.test(text)) throw new VmError(`'${text}': TLS is not taken from a URI; make the node with blockdev-add and name that`);
  if (/^nbd(\+tcp|\+unix)?:\/\//.test(text)) return fromUri(text);
  const old = /^nbd:(?:unix:([^:]+)|(\[[^\]]+\]|[^:]*):([0-9]{1,5}))(?::exportname=(.*))?$/.exec(text);
  if (old) return { address: old[1] === undefined ? tcp(text, old[2], old[3]) : { kind: 'unix', path: old[1] }, exportName: old[4] ?? '' };
  if (text.startsWith('nbd:')) throw new VmError(`'${text}' is no name of an NBD export: nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH`);
  return undefined;
}

function fromUri(text: string): { address: Address; exportName: string } {
  const match = /^nbd(\+tcp|\+unix)?:\/\/(\[[^\]]*\]|[^:/?#]*)(?::([0-9]{1,5}))?(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text);
  if (!match) throw new VmError(`'${text}' is no NBD URI: nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH`);
  const [, transport, host, port, path = '', query = ''] = match;
  const exportName = decode(text, path);
  if (transport !== '+unix') return { address: tcp(text, host, port ?? String(DEFAULT_PORT)), exportName };
  const socket = new URLSearchParams(query).get('socket');
  if (socket === null || socket === '') throw new VmError(`'${text}': ?socket=PATH is missing`);
  return { address: { kind: 'unix', path: socket }, exportName };
}

function decode(text: string, path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new VmError(`'${text}': a % is not followed by two hexadecimal digits`);
  }
}

function tcp(text: string, host: string, port: string): Address {
  const number = Number(port);
  if (number < 1 || number > 65_535) throw new VmError(`'${text}': port ${port} is not from 1 to 65535`);
  return { kind: 'tcp', host: host === '' ? 'localhost' : host.replace(/^\[|\]$/g, ''), port: number };
}
