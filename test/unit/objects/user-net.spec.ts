/**
 * Goal: `-netdev user` is read as QEMU reads it, in all spellings, and mistakes are sentences; its
 * forwards come and go by the monitor. Method: the declarations, and the commands over a netdev
 * that remembers.
 */
import type { Forward, UserNet, UserNets } from '../../../src/host/ports.js';
import { slirpOf } from '../../../src/host/node/user-nets.js';
import { monitorRegistry } from '../../../src/monitor/commands/all.js';
import { defaultLimits } from '../../../src/vm/host.js';
import { Network } from '../../../src/vm/network.js';
import { netdevHelp, netdevOf, readNetdev } from '../../../src/vm/objects/netdevs.js';
import type { Vm } from '../../../src/vm/vm.js';
import { rememberingVm } from '../../support/remembering-vm.js';
import { SimHost } from '../../support/sim/host.js';

const plain = {
  ipv4: true,
  ipv6: true,
  restrict: false,
  net: '10.0.2.0',
  mask: '255.255.255.0',
  host: '10.0.2.2',
  dns: '10.0.2.3',
  dhcpStart: '10.0.2.15',
  hostname: '',
};
const ssh: Forward = {
  protocol: 'tcp',
  host: '0.0.0.0',
  hostPort: 2222,
  guest: '10.0.2.15',
  guestPort: 22,
};

test('what is not said is as QEMU has it', () => {
  const spec = { type: 'user', id: 'n', config: plain, forwards: [] };
  expect(readNetdev('user,id=n')).toEqual(spec);
  expect(netdevOf('user', 'n', {})).toEqual(spec);
  expect(readNetdev('user,id=n,net=192.168.7.9/26,restrict,ipv6=off,hostname=web')).toEqual({
    ...spec,
    config: {
      ...plain,
      ipv6: false,
      restrict: true,
      net: '192.168.7.0',
      mask: '255.255.255.192',
      host: '192.168.7.2',
      dns: '192.168.7.3',
      dhcpStart: '192.168.7.15',
      hostname: 'web',
    },
  });
});

test('forwards, one by one and as a list', () => {
  const dns = {
    protocol: 'udp',
    host: '127.0.0.1',
    hostPort: 5353,
    guest: '10.0.2.20',
    guestPort: 53,
  };
  const rules = ['::2222-:22', 'udp:127.0.0.1:5353-10.0.2.20:53'];
  const text = readNetdev(`user,id=n,hostfwd=${rules[0]},hostfwd=${rules[1]}`);
  expect(text).toMatchObject({ forwards: [ssh, dns] });
  expect(netdevOf('user', 'n', { hostfwd: rules.map(str => ({ str })) })).toEqual(text);
  expect(readNetdev('user,id=n,hostfwd=tcp::2222-:22')).toMatchObject({ forwards: [ssh] });
});

test.each([
  ['ipv4=off,ipv6=off', 'leaves no network'],
  ['ipv4=off,hostfwd=:1-:1', 'hostfwd= needs IPv4'],
  ['net=10.0.2.0', "net= takes ADDRESS/BITS with 8 to 27 bits, not '10.0.2.0'"],
  ['net=10.0.2.0/30', 'net= takes ADDRESS/BITS'],
  ['net=10.0.2/24', 'net= takes ADDRESS/BITS'],
  ['net=10.0.256.0/24', 'net= takes ADDRESS/BITS'],
  ['host=10.0.3.2', 'host=10.0.3.2 is no address of a host in 10.0.2.0/24'],
  ['dns=10.0.2.255', 'dns=10.0.2.255 is no address of a host in 10.0.2.0/24'],
  ['dns=10.0.2.2', 'three different addresses'],
  ['dhcpstart=x', "dhcpstart= takes an IPv4 address, not 'x'"],
  ['dhcpstart=10.0.2.250', 'leaves no room for 16 addresses'],
  ['hostname=a b', 'hostname= takes letters'],
  [`hostname=${'a'.repeat(33)}`, 'at most 32'],
  ['restrict=on,restrict=on', "'restrict' is given twice"],
  ['smb=/tmp', "Parameter 'smb' is unexpected"],
  ['hostfwd=22', 'it has no GUESTPORT'],
  ['hostfwd=sctp::1-:2', "'sctp' is neither tcp nor udp"],
  ['hostfwd=tcp:localhost:1-:2', "'tcp:localhost:1' is not [tcp|udp]:[HOSTADDR]:HOSTPORT"],
  ['hostfwd=tcp::0-:2', "'tcp::0' is not"],
  ['hostfwd=tcp::1-:65536', "':65536' is not [GUESTADDR]:GUESTPORT"],
  ['hostfwd=tcp::1-192.168.1.1:2', "192.168.1.1 is not in the guest's network"],
  ['hostfwd=tcp::1-:2-:3', 'it has no GUESTPORT'],
])('%s', (options, message) => expect(() => readNetdev(`user,id=n,${options}`)).toThrow(message));

test('its options are helped with', () => {
  expect(netdevHelp('user,help')).toMatch(/hostfwd=<string> +tcp\|udp:\[HOSTADDR\]:HOSTPORT/);
});

test('a host without the library says what is missing', () => {
  expect(() => slirpOf({})).toThrow('colo was built without libslirp');
  expect(() => slirpOf({ Slirp: null })).toThrow('libslirp.so.0 of the user network is missing');
});

describe('in the monitor', () => {
  const listening: string[] = [];
  const net: UserNet = {
    onFrame: () => undefined,
    write: () => true,
    pause: () => undefined,
    resume: () => undefined,
    listen: f =>
      void listening.push(`${f.protocol}:${f.host}:${f.hostPort}-${f.guest}:${f.guestPort}`),
    unlisten: f => void listening.push(`no ${f.protocol}:${f.host}:${f.hostPort}`),
    connections: () => '  Protocol[State]\n',
    dropped: 0,
    dispose: () => undefined,
  };
  const userNets: UserNets = { open: () => net };

  async function networkOf(
    netdevs: string[],
    host: Partial<{ userNets: UserNets }> = { userNets },
  ) {
    listening.length = 0;
    const { clock, sockets, taps, programs } = SimHost.alone();
    return Network.create(
      { netdevs: netdevs.map(readNetdev) },
      { clock, sockets, taps, programs, ...host, limits: defaultLimits, note: () => undefined },
    );
  }

  test('a simulated host has none', async () => {
    await expect(networkOf(['user,id=n'], {})).rejects.toThrow('this host has no user network');
  });

  test('forwards are added, shown and removed', async () => {
    const network = await networkOf(['user,id=n', 'socket,id=s,listen=:1']);
    const vm = { ...rememberingVm(), network } as unknown as Vm;
    const run = async (line: string) => {
      const [name, ...words] = line.split(' ');
      const command = monitorRegistry.hmp(name);
      const [arg1, arg2] = words;
      return command?.hmp?.run(vm, { arg1, arg2 }, {} as never);
    };
    await run('hostfwd_add tcp::2222-:22');
    expect(listening).toEqual(['tcp:0.0.0.0:2222-10.0.2.15:22']);
    await expect(run('hostfwd_add n ::2222-:23')).rejects.toThrow(
      'tcp:0.0.0.0:2222 is forwarded already',
    );
    await expect(run('hostfwd_add s ::1-:1')).rejects.toThrow("'s' is no user netdev");
    await expect(run('hostfwd_add x ::1-:1')).rejects.toThrow("Device 'x' not found");
    await expect(run('hostfwd_add 22')).rejects.toThrow('invalid host forwarding rule');
    const shown = await monitorRegistry.qmp('x-query-usernet').runQmp(vm, {}, {} as never);
    expect(shown).toEqual({ 'human-readable-text': 'n:\n  Protocol[State]\n' });
    expect(await run('hostfwd_remove n tcp::2222')).toBe(
      'host forwarding rule for tcp::2222 removed',
    );
    await expect(run('hostfwd_remove tcp::2222')).rejects.toThrow('not found');
    expect(listening.at(-1)).toBe('no tcp:0.0.0.0:2222');
    network.close();
  });
});
