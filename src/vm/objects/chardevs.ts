/**
 * The kinds of character devices, each declared once: from its options derive -chardev,
 * chardev_add, the nested JSON of chardev-add, help, and the short forms of -serial, -monitor and
 * -qmp.
 */
import { assertNever, VmError } from '../../base/errors.js';
import { parseKeyValues, splitCommas } from '../../words/key-values.js';
import { didYouMean } from '../../base/similar.js';
import type { CharSpec } from '../../chardev/contract.js';
import { parseTcp, portNumber } from '../../chardev/parse.js';
import type { Address } from '../../host/ports.js';
import type { ArgsOf, Fields } from '../../words/types.js';
import { bool, int, optional, size, str, struct, tagged } from '../../words/types.js';
import { helpedKinds, namedHelp } from '../../words/named.js';
import { fromWords } from '../../words/from-words.js';

export type StdioInput = Extract<CharSpec, { kind: 'stdio' }>['input'];
export const chardevKinds = ['null', 'stdio', 'file', 'socket', 'ringbuf'] as const;
type Kind = (typeof chardevKinds)[number];

const MAX_RECONNECT_MS = 86_400_000;
const DEFAULT_RING_BYTES = 65_536;
const MAX_RING_BYTES = 64 << 20;

const options = {
  null: {},
  stdio: { signal: optional(bool('off: Ctrl-C is input; on (default): it is a signal')) },
  file: {
    path: str('where output goes', { complete: 'files' }),
    append: optional(bool('on: behind what is there')),
  },
  socket: {
    path: optional(str('of a unix socket', { complete: 'files' })),
    host: optional(str('of a TCP socket')),
    port: optional(str('of a TCP socket')),
    server: optional(bool('on: listen; off (default): connect')),
    wait: optional(
      bool('of a server. on (default): the machine does not start before somebody is there'),
    ),
    reconnect: optional(
      int('of a client: seconds until it tries again; 0 (default): it does not', {
        min: 0,
        max: MAX_RECONNECT_MS / 1000,
      }),
    ),
    'reconnect-ms': optional(int('the same in milliseconds', { min: 0, max: MAX_RECONNECT_MS })),
    'tls-creds': optional(
      str('a tls-creds object, of a server with endpoint=server: the connection speaks TLS'),
    ),
  },
  ringbuf: { size: optional(size('bytes that are kept, a power of two; default: 64K')) },
} as const satisfies Record<Kind, Fields>;

/** QEMU's that colo does not have, with what to do instead. */
const refused: Readonly<Record<string, string>> = {
  pty: 'use socket with server=on, and socat for a terminal',
  udp: 'use socket',
  pipe: 'use socket, or file for output alone',
  vc: 'there is no display; use stdio or socket',
};

/**
 * `-chardev socket,id=c0,path=/run/x,server=on,wait=off`. running: it is a monitor that asks, and
 * no monitor waits for a peer.
 */
export function readChardev(text: string, running = false): { id: string; backend: CharSpec } {
  const items = parseKeyValues(text, 'backend');
  const word = (key: string) => items.find(item => item.key === key)?.value;
  const kind = kindNamed(word('backend') ?? '');
  const id = word('id');
  if (id === undefined || id === '')
    throw new VmError('chardev: no id specified', { hint: `Example: ${kind},id=c0` });
  const mux = sharing(word('mux'), running);
  const own = items.filter(item => !['backend', 'id', 'mux'].includes(item.key));
  // The keyboard of a mux is the guest's too: it gets Ctrl-C, unless the user says otherwise.
  const keys =
    mux && kind === 'stdio' && word('signal') === undefined
      ? [{ key: 'signal', value: 'off' }]
      : [];
  const backend = fromItems(kind, [...own, ...keys]);
  if (mux) return { id, backend: { kind: 'mux', base: backend } };
  return {
    id,
    backend: running
      ? withoutWait(
          backend,
          own.some(item => item.key === 'wait'),
        )
      : backend,
  };
}

/** mux=on: for several front ends, which are there from the start. */
function sharing(word: string | undefined, running: boolean): boolean {
  if (word === undefined || word === 'off') return false;
  if (word !== 'on') throw new VmError(`Parameter 'mux' expects 'on' or 'off', not '${word}'`);
  if (running)
    throw new VmError(
      "'mux=on' is for the command line: console and monitor are there from the start",
    );
  return true;
}

function withoutWait(backend: CharSpec, asked: boolean): CharSpec {
  if (backend.kind !== 'socket' || !backend.wait) return backend;
  if (asked)
    throw new VmError(
      "'wait=on' is for the command line: a monitor does not wait until somebody connects",
      { hint: 'Use wait=off.' },
    );
  return { ...backend, wait: false };
}

const SHORT_FORMS = 'null, stdio, file:PATH, unix:PATH, tcp:HOST:PORT and ringbuf';

/**
 * `unix:/run/x,server=on,wait=off`: the short form; stdioInput: what the front end makes of
 * standard input.
 */
export function readChannel(text: string, stdioInput: StdioInput): CharSpec {
  const [head, ...rest] = splitCommas(text);
  const colon = head.indexOf(':');
  const form = colon < 0 ? head : head.slice(0, colon);
  const argument = colon < 0 ? '' : head.slice(colon + 1);
  const items =
    rest.length === 0 ? [] : parseKeyValues(rest.map(item => item.replaceAll(',', ',,')).join(','));
  const bare = () => {
    if (colon >= 0) throw new VmError(`'${form}' takes nothing after a colon`);
  };
  const path = () => {
    if (argument === '') throw new VmError(`a path is missing: ${form}:PATH`);
    return { key: 'path', value: argument };
  };
  switch (form) {
    case 'null':
    case 'ringbuf':
      bare();
      return fromItems(form, items);
    case 'stdio':
      bare();
      return { ...fromItems(form, items), kind: form, input: stdioInput };
    case 'file':
      return fromItems('file', [path(), ...items]);
    case 'unix':
      return fromItems('socket', [path(), ...items]);
    case 'tcp': {
      const address = parseTcp(argument);
      return fromItems('socket', [
        { key: 'host', value: address.host },
        { key: 'port', value: String(address.port) },
        ...items,
      ]);
    }
    default:
      throw new VmError(`'${form}' is not a character device of colo; it has ${SHORT_FORMS}`);
  }
}

const inet = struct('InetSocketAddress', { host: str(), port: str() });
const unix = struct('UnixSocketAddress', { path: str() });

/** chardev-add's backend: QEMU's JSON has other shapes than its options. */
export const chardevBackend = tagged('ChardevBackend', {
  null: struct('ChardevCommon', {}),
  stdio: struct('ChardevStdio', options.stdio),
  file: struct('ChardevFile', { out: str('where output goes'), append: options.file.append }),
  socket: struct('ChardevSocket', {
    addr: tagged('SocketAddressLegacy', { inet, unix }),
    server: optional(bool('false: connect; default: true')),
    wait: optional(bool('of a server: answer when somebody is there; default: false')),
    reconnect: options.socket.reconnect,
    'reconnect-ms': options.socket['reconnect-ms'],
    'tls-creds': options.socket['tls-creds'],
  }),
  ringbuf: struct('ChardevRingbuf', options.ringbuf),
});
type Backend = ReturnType<typeof chardevBackend.check>;

export function specOfBackend(backend: Backend): CharSpec {
  switch (backend.type) {
    case 'socket': {
      const { addr, server = true, wait, ...others } = backend.data;
      const address =
        addr.type === 'unix'
          ? { path: addr.data.path }
          : { host: addr.data.host, port: addr.data.port };
      return withoutWait(
        socketSpec({ ...others, ...address, server, ...(server ? { wait: wait ?? false } : {}) }),
        true,
      );
    }
    case 'file':
      return specOf.file({ path: backend.data.out, append: backend.data.append });
    case 'stdio':
      return specOf.stdio(backend.data);
    case 'ringbuf':
      return specOf.ringbuf(backend.data);
    case 'null':
      return specOf.null();
    default:
      return assertNever(backend);
  }
}

const specOf = {
  null: (): CharSpec => ({ kind: 'null' }),
  stdio: ({ signal = true }: ArgsOf<typeof options.stdio>): CharSpec => ({
    kind: 'stdio',
    input: signal ? 'characters' : 'keys',
  }),
  file: ({ path, append = false }: ArgsOf<typeof options.file>): CharSpec => ({
    kind: 'file',
    path,
    append,
  }),
  socket: (given: ArgsOf<typeof options.socket>): CharSpec => socketSpec(given),
  ringbuf: ({ size: sizeBytes = DEFAULT_RING_BYTES }: ArgsOf<typeof options.ringbuf>): CharSpec => {
    if (!Number.isInteger(Math.log2(sizeBytes)) || sizeBytes > MAX_RING_BYTES)
      throw new VmError('size of ringbuf chardev must be power of two', {
        hint: `At most ${MAX_RING_BYTES}.`,
      });
    return { kind: 'ringbuf', sizeBytes };
  },
} as const;

function fromItems(kind: Kind, items: Parameters<typeof fromWords>[1]): CharSpec {
  // Each kind's reader takes what its own fields make.
  return (specOf[kind] as (given: unknown) => CharSpec)(fromWords(options[kind], items));
}

function socketSpec({
  path,
  host,
  port,
  server = false,
  wait,
  reconnect,
  'reconnect-ms': ms,
  'tls-creds': tlsCreds,
}: ArgsOf<typeof options.socket>): CharSpec {
  const address = addressOf(path, host, port);
  if (wait !== undefined && !server) throw new VmError("'wait' is for a server: add server=on");
  if (server && (reconnect !== undefined || ms !== undefined))
    throw new VmError("'reconnect' is for a client, not with server=on");
  if (reconnect !== undefined && ms !== undefined)
    throw new VmError("'reconnect' and 'reconnect-ms' exclude each other");
  if (!server && address.kind === 'tcp' && address.host === '')
    throw new VmError('a host is needed to connect to');
  return {
    kind: 'socket',
    address,
    server,
    wait: server && (wait ?? true),
    reconnectMs: ms ?? (reconnect ?? 0) * 1000,
    ...(tlsCreds !== undefined && { tlsCreds }),
  };
}

function addressOf(
  path: string | undefined,
  host: string | undefined,
  port: string | undefined,
): Address {
  if (path !== undefined) {
    if (path === '') throw new VmError('a path is missing: path=PATH');
    if (host !== undefined || port !== undefined)
      throw new VmError("'path' is a unix socket, 'host' and 'port' are TCP: not both");
    return { kind: 'unix', path };
  }
  if (port === undefined)
    throw new VmError('a socket needs an address: path=PATH, or host=HOST,port=PORT');
  return { kind: 'tcp', host: host ?? '', port: portNumber(port) };
}

function kindNamed(name: string): Kind {
  const found = chardevKinds.find(kind => kind === name);
  if (found) return found;
  const instead = Object.hasOwn(refused, name) ? `: colo does not have it; ${refused[name]}` : '';
  throw new VmError(`'${name}' is not a valid char driver name${instead}`, {
    hint: `It has ${chardevKinds.join(', ')}.${didYouMean(name, chardevKinds)}`,
  });
}

const summaries: Readonly<Record<Kind, string>> = {
  null: 'takes everything, says nothing',
  stdio: 'the terminal',
  file: 'output into a file',
  socket: 'a unix socket or a TCP connection',
  ringbuf: 'the last bytes, for ringbuf_read',
};

/** For help and the manual. */
export const chardevHelped = helpedKinds(summaries, options);

/** `help` in the place of the kind, or `KIND,help`; undefined: no help was asked for. */
export const chardevHelp = (text: string): string | undefined =>
  namedHelp(text, 'Available chardev backend types:', chardevHelped, kindNamed);
