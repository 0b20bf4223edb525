/**
 * The options of `-netdev user`, and the rules of its forwards, which the monitor takes too. The
 * addresses that are not given are QEMU's.
 */
import { VmError } from '../../base/errors.js';
import type { Forward, UserNetConfig } from '../../host/ports.js';
import type { NetdevSpec } from '../../machine/spec.js';
import { ipv4Of, portOf, showIpv4 } from '../../words/scalars.js';
import type { ArgsOf } from '../../words/types.js';
import { bool, optional, str, strings } from '../../words/types.js';

export const userFields = {
  hostfwd: optional(
    strings(
      'tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT: that port of the host leads to the ' +
        'guest; may be repeated; without HOSTADDR at every address of the host. In COLO it ' +
        'listens where the guest runs; connections end with a failover',
    ),
  ),
  net: optional(str("ADDRESS/BITS of the guest's network; default: 10.0.2.0/24")),
  host: optional(str('address of this host there; default: the 2nd, 10.0.2.2')),
  dns: optional(str("address there of the host's name server; default: the 3rd, 10.0.2.3")),
  dhcpstart: optional(str('first of 16 addresses for guests; default: the 15th, 10.0.2.15')),
  hostname: optional(str('that DHCP gives the guest')),
  restrict: optional(bool('on: the guest reaches this network only; forwards still lead to it')),
  ipv4: optional(bool('default: on')),
  ipv6: optional(bool('default: on; the network is fec0::/64')),
};

type UserArgs = ArgsOf<typeof userFields>;

/** libslirp keeps no more of it. */
const HOSTNAME_MAX = 32;
/** What DHCP gives out, from dhcpstart on. */
const LEASES = 16;
/** Room for host, name server and those. */
const BITS_MAX = 27;

export function userSpec(id: string, given: UserArgs): NetdevSpec {
  const config = configOf(given);
  if (!config.ipv4 && given.hostfwd)
    throw new VmError('hostfwd= needs IPv4', { hint: 'Leave ipv4=off out.' });
  const forwards = (given.hostfwd ?? []).map(rule => readForward(rule, config));
  return { type: 'user', id, config, forwards };
}

function configOf(given: UserArgs): UserNetConfig {
  const { ipv4 = true, ipv6 = true, restrict = false, hostname = '' } = given;
  if (!ipv4 && !ipv6) throw new VmError('ipv4=off with ipv6=off leaves no network');
  if (hostname.length > HOSTNAME_MAX || !/^[A-Za-z0-9.-]*$/.test(hostname))
    throw new VmError(`hostname= takes letters, digits, - and ., at most ${HOSTNAME_MAX} of them`);
  const { net, mask } = networkOf(given.net ?? '10.0.2.0/24');
  const inside = (name: 'host' | 'dns' | 'dhcpstart', nth: number): number => {
    const word = given[name];
    const address = word === undefined ? net + nth : ipv4Of(word);
    if (address === undefined) throw new VmError(`${name}= takes an IPv4 address, not '${word}'`);
    const rest = (address & ~mask) >>> 0;
    if ((address & mask) >>> 0 !== net || rest === 0 || rest === ~mask >>> 0)
      throw new VmError(
        `${name}=${showIpv4(address)} is no address of a host in ${show(net, mask)}`,
      );
    return address;
  };
  const host = inside('host', 2);
  const dns = inside('dns', 3);
  const dhcpStart = inside('dhcpstart', 15);
  if (new Set([host, dns, dhcpStart]).size < 3)
    throw new VmError('host=, dns= and dhcpstart= are three different addresses');
  if (((dhcpStart + LEASES - 1) & mask) >>> 0 !== net)
    throw new VmError(`dhcpstart=${showIpv4(dhcpStart)} leaves no room for ${LEASES} addresses`);
  return {
    ipv4,
    ipv6,
    restrict,
    net: showIpv4(net),
    mask: showIpv4(mask),
    host: showIpv4(host),
    dns: showIpv4(dns),
    dhcpStart: showIpv4(dhcpStart),
    hostname,
  };
}

function networkOf(word: string): { net: number; mask: number } {
  const [address, bits = '', ...more] = word.split('/');
  const net = ipv4Of(address);
  const length = /^[0-9]{1,2}$/.test(bits) ? Number(bits) : 0;
  if (net === undefined || more.length > 0 || length < 8 || length > BITS_MAX)
    throw new VmError(`net= takes ADDRESS/BITS with 8 to ${BITS_MAX} bits, not '${word}'`, {
      hint: 'The default is net=10.0.2.0/24.',
    });
  const mask = (0xffff_ffff << (32 - length)) >>> 0;
  return { net: (net & mask) >>> 0, mask };
}

const show = (net: number, mask: number) => `${showIpv4(net)}/${32 - Math.log2((~mask >>> 0) + 1)}`;

/** `tcp::2222-:22`, `udp:127.0.0.1:53-10.0.2.16:53`; no protocol: tcp. */
export function readForward(rule: string, { net, mask, dhcpStart }: UserNetConfig): Forward {
  const [from, to, ...more] = rule.split('-');
  if (to === undefined || more.length > 0) throw badRule(rule, 'it has no GUESTPORT behind a -');
  const [guest = '', port = '', ...rest] = to.split(':');
  const address = ipv4Of(guest === '' ? dhcpStart : guest);
  const guestPort = portOf(port);
  if (address === undefined || guestPort === undefined || guestPort === 0 || rest.length > 0)
    throw badRule(rule, `'${to}' is not [GUESTADDR]:GUESTPORT`);
  const netmask = ipv4Of(mask) ?? 0;
  if (showIpv4(address & netmask) !== net)
    throw badRule(rule, `${guest} is not in the guest's network`);
  return { ...readForwarded(from, rule), guest: showIpv4(address), guestPort };
}

/** Its half on the host: `tcp:127.0.0.1:2222`, `:2222`. */
export function readForwarded(
  from: string,
  rule = from,
): Pick<Forward, 'protocol' | 'host' | 'hostPort'> {
  const words = from.split(':');
  const [protocol, host, port] = words.length === 2 ? ['', ...words] : words;
  const kind = protocol === '' ? 'tcp' : protocol;
  if (kind !== 'tcp' && kind !== 'udp') throw badRule(rule, `'${protocol}' is neither tcp nor udp`);
  const address = host === '' ? 0 : ipv4Of(host);
  const hostPort = portOf(port ?? '');
  if (words.length > 3 || address === undefined || hostPort === undefined || hostPort === 0)
    throw badRule(rule, `'${from}' is not [tcp|udp]:[HOSTADDR]:HOSTPORT`);
  return { protocol: kind, host: showIpv4(address), hostPort };
}

const badRule = (rule: string, why: string) =>
  new VmError(`invalid host forwarding rule '${rule}': ${why}`, {
    hint: 'As tcp:127.0.0.1:2222-:22, or tcp::2222-10.0.2.15:22.',
  });
