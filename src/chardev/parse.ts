/** Addresses in words, and a channel's spec in words again. */
import { VmError } from '../base/errors.js';
import type { Address } from '../host/ports.js';
import type { CharSpec } from './contract.js';

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`. */
export function parseTcp(text: string): Address {
  const match = /^(\[[^\]]+\]|[^:]*):([^:]+)$/.exec(text);
  if (!match) throw new VmError(`'${text}' is not HOST:PORT`);
  return { kind: 'tcp', host: match[1].replace(/^\[|\]$/g, ''), port: portNumber(match[2]) };
}

export function portNumber(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new VmError(`'${text}' is not a port number`);
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
  return spec.server ? `${where},server=on` : where;
}
