/** Ports of the host that lead to the guest of a user netdev, and its connections. */
import { VmError } from '../../base/errors.js';
import type { Forward } from '../../host/ports.js';
import { readForward, readForwarded } from '../../vm/objects/user-net.js';
import type { Vm } from '../../vm/vm.js';
import { optional, str, struct } from '../../words/types.js';
import { command, hmpCommand } from '../schema.js';

const first = str('netdev, where there are several; else the rule', { complete: 'netdevs' });

export const userNetCommands = [
  hmpCommand({
    name: 'hostfwd_add',
    since: '0.1',
    summary: 'redirect TCP or UDP connections from host to guest (requires -netdev user)',
    notes: [
      'The rule is [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT. Without HOSTADDR every ' +
        'address of the host listens.',
    ],
    examples: ['hostfwd_add tcp:127.0.0.1:2222-:22', 'hostfwd_add hn0 tcp::8080-:80'],
    args: { arg1: first, arg2: optional(str('rule')) },
    run: (vm, { arg1, arg2 }) => {
      const { forwards, rule } = subject(vm, arg1, arg2);
      forwards.add(readForward(rule, forwards.config));
      return undefined;
    },
  }),
  hmpCommand({
    name: 'hostfwd_remove',
    since: '0.1',
    summary: 'remove host-to-guest TCP or UDP redirection',
    notes: ['Connections that came by it stay.'],
    examples: ['hostfwd_remove tcp:127.0.0.1:2222', 'hostfwd_remove hn0 tcp::8080'],
    args: { arg1: first, arg2: optional(str('rule, to the -')) },
    run: (vm, { arg1, arg2 }) => {
      const { forwards, rule } = subject(vm, arg1, arg2);
      const from: Pick<Forward, 'protocol' | 'host' | 'hostPort'> = readForwarded(rule);
      if (!forwards.remove(from)) throw new VmError(`host forwarding rule for ${rule} not found`);
      return `host forwarding rule for ${rule} removed`;
    },
  }),
  command({
    name: 'x-query-usernet',
    hmpName: 'info usernet',
    since: '0.1',
    summary: 'show user network stack connection states',
    returns: struct('HumanReadableText', { 'human-readable-text': str() }),
    run: ({ network }) => ({
      'human-readable-text': network.netdevs
        .flatMap(({ id, forwards }) => (forwards ? [`${id}:\n${forwards.describe()}`] : []))
        .join(''),
    }),
    show: answer => answer['human-readable-text'].replace(/\n$/, ''),
  }),
];

const subject = ({ network }: Vm, arg1: string, arg2: string | undefined) =>
  arg2 === undefined
    ? { forwards: network.forwards(), rule: arg1 }
    : { forwards: network.forwards(arg1), rule: arg2 };
