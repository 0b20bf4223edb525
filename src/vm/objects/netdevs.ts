/**
 * The kinds of netdevs, each declared once: from its options derive -netdev, netdev_add in both
 * spellings, and help.
 */
import { assertNever, VmError } from '../../base/errors.js';
import { helpedKinds, namedHelp, neededWord, readNamed } from '../../words/named.js';
import { didYouMean } from '../../base/similar.js';
import { parseTcp } from '../../chardev/parse.js';
import type { NetdevSpec } from '../../machine/spec.js';
import type { ArgsOf, Fields } from '../../words/types.js';
import { bool, checkFields, optional, str } from '../../words/types.js';
import { fromWords } from '../../words/from-words.js';
import { userFields, userSpec } from './user-net.js';

export const netdevKinds = ['tap', 'socket', 'user'] as const;
type Kind = (typeof netdevKinds)[number];

const options = {
  tap: {
    ifname: optional(str('of the host; may hold %d; default: tap%d')),
    script: optional(
      str(
        'run as SCRIPT IFNAME when it is there; no: none; default: /etc/qemu-ifup where that is',
        { complete: 'files' },
      ),
    ),
    downscript: optional(
      str('the same when it goes; default: /etc/qemu-ifdown', { complete: 'files' }),
    ),
    vhost: optional(bool('off: COLO must see every packet')),
    vnet_hdr: optional(bool('off: the network cards have no vnet header')),
  },
  socket: {
    listen: optional(str('[HOST]:PORT to wait on for one peer at a time')),
    connect: optional(str('HOST:PORT to connect to')),
  },
  user: userFields,
} as const satisfies Record<Kind, Fields>;

const refused: Readonly<Record<string, string>> = {
  hubport: 'there are no hubs; use a bridge of the host',
  bridge: 'use tap, with a script that adds it to the bridge',
  stream: 'use socket, whose frames are the same on the wire',
  dgram: 'use socket with listen or connect',
  'vhost-user': 'COLO must see every packet',
  'vhost-vdpa': 'COLO must see every packet',
};

/** `tap,id=hn0,ifname=tap0`. */
export function readNetdev(text: string): NetdevSpec {
  const { kind, id, own } = readNamed(text, 'type');
  const known = kindNamed(kind);
  return specOf(known, neededWord(id, 'id'), fromWords<Fields>(options[known], own));
}

/** As QMP sends it. */
export function netdevOf(
  type: string,
  id: string,
  given: Readonly<Record<string, unknown>>,
): NetdevSpec {
  const kind = kindNamed(type);
  return specOf(kind, id, checkFields<Fields>(options[kind], given));
}

function specOf(kind: Kind, id: string, given: object): NetdevSpec {
  switch (kind) {
    case 'tap':
      return tapSpec(id, given);
    case 'socket':
      return socketSpec(id, given);
    case 'user':
      return userSpec(id, given);
    default:
      return assertNever(kind);
  }
}

function tapSpec(
  id: string,
  { ifname, script, downscript, vhost, vnet_hdr: header }: ArgsOf<typeof options.tap>,
): NetdevSpec {
  if (vhost)
    throw new VmError('vhost=on is not supported: COLO must see every packet. Use vhost=off');
  if (header) throw new VmError('vnet_hdr=on is not supported. Use vnet_hdr=off');
  return { type: 'tap', id, ifname, script, downscript };
}

function socketSpec(id: string, { listen, connect }: ArgsOf<typeof options.socket>): NetdevSpec {
  const where = listen ?? connect;
  if (where === undefined || (listen !== undefined && connect !== undefined))
    throw new VmError('exactly one of listen= and connect= is required', {
      hint: 'mcast, udp and fd are not offered.',
    });
  const address = parseTcp(where);
  if (connect !== undefined && address.host === '')
    throw new VmError('a host is needed to connect to');
  return { type: 'socket', id, address, server: listen !== undefined };
}

function kindNamed(name: string): Kind {
  const found = netdevKinds.find(kind => kind === name);
  if (found) return found;
  if (Object.hasOwn(refused, name))
    throw new VmError(`network type '${name}' is not supported: ${refused[name]}`);
  throw new VmError(`Parameter 'type' does not accept value '${name.slice(0, 64)}'`, {
    hint: `Network types: ${netdevKinds.join(', ')}.${didYouMean(name, netdevKinds)}`,
  });
}

const summaries: Readonly<Record<Kind, string>> = {
  tap: 'an interface of the host',
  socket: 'frames over a TCP connection',
  user: "a network of the guest's own, by this process's sockets",
};

/** For help and the manual. */
export const netdevHelped = helpedKinds(summaries, options);

/** `help` in the place of the type, or `TYPE,help`; undefined: no help was asked for. */
export const netdevHelp = (text: string): string | undefined =>
  namedHelp(text, 'Available netdev backend types:', netdevHelped, kindNamed);
