/** What the machine is and how it is. */
import { pairStandings, runStates } from '../../qapi/types.js';
import { versionInfo } from '../dialect.js';
import { healthOf, verdict } from '../health.js';
import { command, part } from '../schema.js';
import { bool, int, list, oneOf, optional, size, str, struct } from '../../words/types.js';
import { type VmControl, vmRoles } from '../vm.js';

const statusInfo = struct('StatusInfo', {
  running: bool(),
  status: oneOf(runStates, '', { name: 'RunState' }),
});
const versionTriple = struct('VersionTriple', { major: int(), minor: int(), micro: int() });

const accelerator = oneOf(['soft', 'kvm'], '', { name: 'Accelerator' });

const vmInfo = struct('VmInfo', {
  name: optional(str()),
  role: oneOf(vmRoles, '', { name: 'VmRole' }),
  status: oneOf(runStates, '', { name: 'RunState' }),
  protected: bool(),
  pair: oneOf(pairStandings, 'how the pair stands', { name: 'PairStanding' }),
  error: optional(str('why COLO, or the way into it, ended the last time')),
  'since-ms': int('for how long the pair has stood so'),
  'last-checkpoint-ms': optional(int('since the last checkpoint that the secondary holds whole')),
  peer: optional(str()),
  'age-ms': int(),
  pid: int(),
  ram: size(),
});

function sentence(vm: VmControl): string {
  const health = healthOf(vm);
  const { text, todo } = health ? verdict(health, 'x_colo_lost_heartbeat') : { text: 'unknown' };
  return todo === undefined ? text : `${text}; ${todo}`;
}

export const statusCommands = [
  command({
    name: 'query-vm',
    since: '0.1',
    feature: 'process',
    summary: 'show who this VM is: role, state, peer, age, process',
    returns: vmInfo,
    run: vm => {
      const { role, isProtected, peer, ageMs, pid, ramBytes, ...rest } = part(vm, 'process');
      const { pair, why, sinceMs, lastCheckpointMs: last } = rest;
      const stands = { pair, error: why, 'since-ms': sinceMs, 'last-checkpoint-ms': last };
      const of = { peer, 'age-ms': ageMs, pid, ram: ramBytes };
      return { name: vm.name, role, status: vm.runState, protected: isProtected, ...stands, ...of };
    },
    show: (info, vm) =>
      [
        `name: ${info.name ?? '(none)'}`,
        `role: ${info.role}${info.peer === undefined ? '' : `, peer ${info.peer}`}` +
          (info.protected ? ', protected' : ', not protected'),
        `state: ${info.status}`,
        `pair: ${sentence(vm)}`,
        `process: ${info.pid}, for ${Math.round(info['age-ms'] / 1000)} s`,
        `ram: ${info.ram / 2 ** 20} MiB`,
      ].join('\n'),
  }),
  command({
    name: 'query-status',
    since: '0.1',
    summary: 'show the current VM status (running|paused)',
    returns: statusInfo,
    run: vm => ({ running: vm.runState === 'running', status: vm.runState }),
    show: ({ running, status }) =>
      'VM status: ' +
      `${running ? 'running' : 'paused'}${running || status === 'paused' ? '' : ` (${status})`}`,
  }),
  command({
    name: 'query-version',
    since: '0.1',
    summary: 'show the version of colo, and of the QEMU whose monitor it speaks',
    returns: struct('VersionInfo', { qemu: versionTriple, package: str() }),
    run: ({ version }) => versionInfo(version),
    show: ({ qemu, package: name }) => `${qemu.major}.${qemu.minor}.${qemu.micro} (${name})`,
  }),
  command({
    name: 'query-name',
    since: '0.1',
    summary: 'show the current VM name',
    returns: struct('NameInfo', { name: optional(str()) }),
    run: vm => (vm.name === undefined ? {} : { name: vm.name }),
    show: info => info.name,
  }),
  command({
    name: 'query-uuid',
    since: '0.1',
    summary: 'show the current VM UUID',
    returns: struct('UuidInfo', { UUID: str() }),
    run: vm => ({ UUID: vm.uuid }),
    show: info => info.UUID,
  }),
  command({
    name: 'query-accelerators',
    hmpName: 'info accel',
    aliases: ['info accelerators'],
    since: '0.1',
    summary: 'show what runs the guest (*), and what else this host has',
    returns: struct('AcceleratorInfo', { enabled: accelerator, present: list(accelerator) }),
    run: ({ kvm: { enabled, present } }) => ({
      enabled: enabled ? ('kvm' as const) : ('soft' as const),
      present: present || enabled ? ['soft' as const, 'kvm' as const] : ['soft' as const],
    }),
    show: ({ enabled, present }) =>
      present.map(name => `${name === enabled ? '*' : ' '} ${name}`).join('\n'),
  }),
  command({
    name: 'query-kvm',
    since: '0.1',
    summary: 'show KVM information',
    returns: struct('KvmInfo', { enabled: bool(), present: bool() }),
    run: ({ kvm: { enabled, present } }) => ({ enabled, present }),
    show: info =>
      `kvm support: ${info.enabled ? 'enabled' : info.present ? 'disabled' : 'not available'}`,
  }),
];
