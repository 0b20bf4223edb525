/** What `-serial`, `-monitor`, `-qmp` and `-chardev` say, as a CharSpec. Kinds that colo does not have are refused by name. */
import { VmError } from '../base/errors.js';
import { KeyValues, parseKeyValues, splitCommas } from '../base/key-values.js';
import type { Address } from '../host/ports.js';
import type { CharSpec } from './contract.js';

const kinds = 'null, stdio, file:PATH, unix:PATH and tcp:HOST:PORT';
type StdioInput = Extract<CharSpec, { kind: 'stdio' }>['input'];

/** `unix:/run/x,server=on,wait=off`; stdioInput: what the front end makes of standard input. */
export function parseCharSpec(text: string, stdioInput: StdioInput): CharSpec {
  const [head, ...rest] = splitCommas(text);
  const colon = head.indexOf(':');
  const kind = colon < 0 ? head : head.slice(0, colon);
  const argument = colon < 0 ? '' : head.slice(colon + 1);
  const options = new KeyValues(rest.length === 0 ? [] : parseKeyValues(rest.map(item => item.replaceAll(',', ',,')).join(',')));
  switch (kind) {
    case 'null':
    case 'stdio':
      if (colon >= 0) throw new VmError(`'${kind}' takes nothing after a colon`);
      options.done('nothing');
      return kind === 'null' ? { kind } : { kind, input: stdioInput };
    case 'file':
      return finish({ kind, path: nonEmpty(argument, 'file:PATH'), append: options.takeBool('append') ?? false }, options, 'append');
    case 'unix':
      return socket({ kind, path: nonEmpty(argument, 'unix:PATH') }, options);
    case 'tcp':
      return socket(parseTcp(argument), options);
    default:
      throw new VmError(`'${kind}' is not a character device of colo; it has ${kinds}`);
  }
}

/** `-chardev socket,id=c0,path=/run/x,server=on,wait=off`. */
export function parseChardev(text: string): { id: string; backend: CharSpec } {
  const options = new KeyValues(parseKeyValues(text, 'backend'));
  const backend = options.need('backend');
  const id = options.need('id');
  const mux = options.takeBool('mux') ?? false;
  const base = chardevBackend(backend, options, mux);
  return { id, backend: mux ? { kind: 'mux', base } : base };
}

function chardevBackend(backend: string, options: KeyValues, mux: boolean): CharSpec {
  switch (backend) {
    case 'null':
      return finish({ kind: 'null' }, options, 'id, mux');
    case 'stdio':
      // The keyboard of a mux is the guest's too: it gets Ctrl-C, unless the user says otherwise.
      return finish({ kind: 'stdio', input: (options.takeBool('signal') ?? !mux) ? 'characters' : 'keys' }, options, 'id, mux, signal');
    case 'file':
      return finish({ kind: 'file', path: options.need('path'), append: options.takeBool('append') ?? false }, options, 'id, mux, path, append');
    case 'socket':
      return socket(socketAddress(options), options);
    default:
      throw new VmError(`'${backend}' is not a character device of colo; it has null, stdio, file and socket`);
  }
}

function socketAddress(options: KeyValues): Address {
  const path = options.take('path');
  if (path !== undefined) return { kind: 'unix', path };
  const host = options.take('host') ?? '';
  return { kind: 'tcp', host, port: portNumber(options.need('port')) };
}

function socket(address: Address, options: KeyValues): CharSpec {
  const server = options.takeBool('server') ?? false;
  const wait = options.takeBool('wait');
  const seconds = options.takeInteger('reconnect', { min: 0, max: 86_400 });
  const ms = options.takeInteger('reconnect-ms', { min: 0, max: 86_400_000 });
  if (wait !== undefined && !server) throw new VmError("'wait' is for a server: add server=on");
  if (server && (seconds !== undefined || ms !== undefined)) throw new VmError("'reconnect' is for a client, not with server=on");
  if (seconds !== undefined && ms !== undefined) throw new VmError("'reconnect' and 'reconnect-ms' exclude each other");
  if (!server && address.kind === 'tcp' && address.host === '') throw new VmError('a host is needed to connect to');
  const reconnectMs = ms ?? (seconds ?? 0) * 1000;
  return finish({ kind: 'socket', address, server, wait: server && (wait ?? true), reconnectMs }, options, 'server, wait, reconnect, reconnect-ms');
}

function finish(spec: CharSpec, options: KeyValues, known: string): CharSpec {
  options.done(known);
  return spec;
}

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`. */
export function parseTcp(text: string): Address {
  const match = /^(\[[^\]]+\]|[^:]*):([^:]+)$/.exec(text);
  if (!match) throw new VmError(`'${text}' is not HOST:PORT`);
  return { kind: 'tcp', host: match[1].replace(/^\[|\]$/g, ''), port: portNumber(match[2]) };
}

function portNumber(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new VmError(`'${text}' is not a port number`);
  return port;
}

function nonEmpty(text: string, form: string): string {
  if (text === '') throw new VmError(`a path is missing: ${form}`);
  return text;
}

/** The option text of a spec, for `info chardev` and messages. */
export function charLabel(spec: CharSpec): string {
  if (spec.kind === 'file') return `file:${spec.path}`;
  if (spec.kind !== 'socket') return spec.kind;
  const { address } = spec;
  const where = address.kind === 'unix' ? `unix:${address.path}` : `tcp:${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
  return spec.server ? `${where},server=on` : where;
}

