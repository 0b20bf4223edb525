/**
 * What an arbiter is called: a kind and a colon, then words between commas. A comma inside of a
 * word is doubled.
 */
import { assertNever, VmError, asVmError } from '../base/errors.js';
import { type KeyValue, KeyValues, parseKeyValues } from '../words/key-values.js';
import { isNode } from './record.js';

export type ArbiterAddress =
  | { kind: 'file'; dir: string; timeoutMs: number }
  | {
      kind: 'etcd';
      endpoints: readonly string[];
      key: string;
      /** Where the certificates are, under QEMU's names. */
      tls: string | undefined;
      timeoutMs: number;
    }
  | { kind: 'exec'; command: string; dir: string; timeoutMs: number };

const DEFAULT_TIMEOUT_MS = 5000;
/** Of a fence agent: a host takes a while to be off. */
const AGENT_TIMEOUT_MS = 60_000;
const TIMEOUT_RANGE = { min: 100, max: 600_000 };
const KEY_BYTES_MAX = 256;
const HINT =
  'use file:DIR, etcd:https://HOST:PORT[,https://HOST:PORT...],key=KEY or exec:COMMAND,dir=DIR';

/** VmError: it is no arbiter's. */
export function parseArbiterAddress(text: string): ArbiterAddress {
  const colon = text.indexOf(':');
  const scheme = text.slice(0, Math.max(colon, 0));
  const parse = Object.hasOwn(PARSERS, scheme) ? PARSERS[scheme] : undefined;
  if (!parse) throw new VmError(`unknown arbiter: '${text}'`, { hint: HINT });
  try {
    return parse(text.slice(colon + 1));
  } catch (error) {
    throw asVmError(error).during(`arbiter '${text}'`);
  }
}

/** The arbiter of a pair, with what both sides are called there. */
export interface ArbiterSeat {
  readonly address: ArbiterAddress;
  readonly node: string;
  readonly peer: string;
}

/** An address with `,node=NAME,peer=NAME`: this side and the other one. */
export function parseArbiterSeat(text: string): ArbiterSeat {
  const colon = text.indexOf(':') + 1;
  const items = parseKeyValues(text.slice(colon));
  const isName = ({ key }: KeyValue) => key === 'node' || key === 'peer';
  const words = new KeyValues(items.filter(isName));
  const rest = items.filter(item => !isName(item)).map(spelled);
  const address = parseArbiterAddress(text.slice(0, colon) + rest.join(','));
  const [node, peer] = [words.need('node'), words.need('peer')];
  for (const name of [node, peer])
    if (!isNodeName(name)) throw new VmError(`'${name}' is no name: letters, digits and . _ -`);
  if (node === peer) throw new VmError(`both sides of the pair call themselves '${node}'`);
  return { address, node, peer };
}

/**
 * Where two addresses mean the same record this is the same, however each host reaches it; of a
 * directory only as long as it cannot say itself which one it is (Arbiter.place).
 */
export function placeOfRecord(address: ArbiterAddress): string {
  switch (address.kind) {
    case 'file':
      return `file:${address.dir}`;
    case 'etcd':
      return `etcd:${[...address.endpoints].sort().join(',')},key=${address.key}`;
    case 'exec':
      return 'exec: (a fence agent on each side)';
    default:
      return assertNever(address);
  }
}

const isNodeName: (name: string) => boolean = isNode;
const spelled = ({ key, value }: KeyValue) =>
  (value === undefined ? key : `${key}=${value}`).replaceAll(',', ',,');

const PARSERS: Readonly<Record<string, (rest: string) => ArbiterAddress>> = {
  file: fileAddress,
  etcd: etcdAddress,
  exec: execAddress,
};

function fileAddress(rest: string): ArbiterAddress {
  const words = new KeyValues(parseKeyValues(rest, 'dir'));
  const dir = wholePath(words.need('dir'), 'where this host has the directory');
  const timeoutMs = timeoutIn(words);
  words.done('dir, timeout');
  return { kind: 'file', dir, timeoutMs };
}

function etcdAddress(rest: string): ArbiterAddress {
  const items = parseKeyValues(rest);
  const isEndpoint = (key: string) => key.includes('://');
  const endpoints = items
    .filter(({ key, value }) => isEndpoint(key) && value === undefined)
    .map(({ key }) => endpointOf(key));
  if (endpoints.length === 0) throw new VmError('it names no https://HOST:PORT');
  if (new Set(endpoints).size < endpoints.length) throw new VmError('an endpoint is named twice');
  const words = new KeyValues(items.filter(({ key }) => !isEndpoint(key)));
  const key = words.need('key');
  if (Buffer.byteLength(key) > KEY_BYTES_MAX)
    throw new VmError(`'key' has at most ${KEY_BYTES_MAX} bytes`);
  const tls = words.take('tls');
  if (tls !== undefined) wholePath(tls, 'it is the directory of the certificates');
  if (tls !== undefined && endpoints.some(url => url.startsWith('http:')))
    throw new VmError("'tls' is for https:// endpoints");
  const timeoutMs = timeoutIn(words);
  words.done('https://HOST:PORT, key, tls, timeout');
  return { kind: 'etcd', endpoints, key, tls, timeoutMs };
}

function execAddress(rest: string): ArbiterAddress {
  const words = new KeyValues(parseKeyValues(rest, 'command'));
  const command = words.need('command');
  const dir = wholePath(words.need('dir'), "it is where this host's record is kept");
  const timeoutMs = timeoutIn(words, AGENT_TIMEOUT_MS);
  words.done('command, dir, timeout');
  return { kind: 'exec', command, dir, timeoutMs };
}

/** Without a slash at the end. */
function endpointOf(text: string): string {
  if (!URL.canParse(text)) throw new VmError(`'${text}' is not https://HOST:PORT`);
  const url = new URL(text);
  const bare = url.pathname === '/' && url.search === '' && url.hash === '';
  if (!['https:', 'http:'].includes(url.protocol) || !bare || url.username + url.password !== '')
    throw new VmError(`'${text}' is not https://HOST:PORT`);
  if (url.protocol === 'http:' && !/^(localhost|127\.[0-9.]+|\[::1\])$/.test(url.hostname))
    throw new VmError(`'${text}': who answers there is not known without https://`);
  return url.origin;
}

function wholePath(path: string, why: string): string {
  if (!path.startsWith('/')) throw new VmError(`'${path}' is not a whole path: ${why}`);
  return path;
}

const timeoutIn = (words: KeyValues, otherwise = DEFAULT_TIMEOUT_MS): number =>
  words.takeInteger('timeout', TIMEOUT_RANGE) ?? otherwise;
