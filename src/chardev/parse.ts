/** Addresses in words, and a channel's spec in words again. */
import { VmError } from '../base/errors.js';
import type { Address } from '../host/ports.js';
import { portOf, splitHostPort } from '../words/scalars.js';
import type { CharSpec } from './contract.js';

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`. */
export function parseTcp(text: string): Extract<Address, { kind: 'tcp' }> {
  const where = splitHostPort(text);
  if (!where) throw new VmError(`'${text}' is not HOST:PORT`);
  return { kind: 'tcp', host: where.host, port: portNumber(where.port) };
}

export function portNumber(text: string): number {
  const port = portOf(text);
  if (port === undefined) throw new VmError(`'${text}' is not a port number`);
  return port;
}

/** The option text of a spec, for `info chardev` and messages. */
export function charLabel(spec: CharSpec): string {
  if (spec.kind === 'file') return `file:${spec.path}`;
  if (spec.kind !== 'socket') return spec.kind;
  const { address } = spec;
  const where =
    address.kind === 'unix'
      ? `unix:${address.path}`
      : `tcp:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  const tls = spec.tlsCreds === undefined ? '' : `,tls-creds=${spec.tlsCreds}`;
  return `${where}${spec.server ? ',server=on' : ''}${tls}`;
}
