/** What the machine is and how it is. */
import { pairStandings, runStates } from '../../qapi/types.js';
import { type Standing, standingOf, vmRoles } from '../../vm/standing.js';
import type { Vm } from '../../vm/vm.js';
import { bool, int, list, oneOf, optional, size, str, struct } from '../../words/types.js';
import { answersOf } from '../answer.js';
import { versionInfo } from '../dialect.js';
import { type Health, verdict } from '../health.js';
import { command } from '../schema.js';

const statusInfo = struct('StatusInfo', {
  running: bool(),
  status: oneOf(runStates, '', { name: 'RunState' }),
});
const versionTriple = struct('VersionTriple', { major: int(), minor: int(), micro: int() });

const accelerator = oneOf(['soft', 'kvm'], '', { name: 'Accelerator' });

const ofVm = answersOf<{ vm: Vm; stands: Standing }>();
const vmInfo = ofVm.answer('VmInfo', {
  name: ofVm.fact(optional(str()), ({ vm }) => vm.spec.name as string | undefined, 'name'),
  role: ofVm.fact(
    oneOf(vmRoles, '', { name: 'VmRole' }),
    ({ stands }) => stands.role,
    (role, { peer, protected: safe }) =>
      `role: ${role}${peer === undefined ? '' : `, peer ${String(peer as string)}`}` +
      (safe === true ? ', protected' : ', not protected'),
  ),
  status: ofVm.fact(
    oneOf(runStates, '', { name: 'RunState' }),
    ({ vm }) => vm.machine.runState,
    'state',
  ),
  protected: ofVm.fact(bool(), ({ stands }) => stands.pair === 'protected'),
  pair: ofVm.fact(
    oneOf(pairStandings, 'how the pair stands', { name: 'PairStanding' }),
    ({ stands }) => stands.pair,
    (pair, all) => `pair: ${sentence({ ...all, pair })}`,
  ),
  superseded: ofVm.fact(
    bool('the other side goes on with the guest: this one can only follow it'),
    ({ vm }) => vm.colo.superseded,
  ),
  error: ofVm.fact(
    optional(str('why COLO, or the way into it, ended the last time')),
    ({ stands }) => stands.why,
  ),
  'since-ms': ofVm.fact(int('for how long the pair has stood so'), ({ stands }) => stands.sinceMs),
  'last-checkpoint-ms': ofVm.fact(
    optional(int('since the last checkpoint that the secondary holds whole')),
    ({ stands }) => stands.lastCheckpointMs,
  ),
  peer: ofVm.fact(optional(str()), ({ stands }) => stands.peer),
  'age-ms': ofVm.fact(int(), ({ vm }) => vm.ageMs),
  pid: ofVm.fact(
    int(),
    ({ vm }) => vm.host.process.pid,
    (pid, all) => `process: ${pid}, for ${Math.round(Number(all['age-ms']) / 1000)} s`,
  ),
  ram: ofVm.fact(
    size(),
    ({ vm }) => vm.spec.ramBytes,
    bytes => `ram: ${bytes / 2 ** 20} MiB`,
  ),
});

/** In the words of an answer. */
function sentence(all: Readonly<Record<string, unknown>>): string {
  const { pair, role, status: state, error: why, 'since-ms': sinceMs, peer } = all;
  const health = { pair, role, state, why, sinceMs, peer } as Health;
  const { text, todo } = verdict(health, 'x_colo_lost_heartbeat');
  return todo === undefined ? text : `${text}; ${todo}`;
}

const NO_UUID = '00000000-0000-0000-0000-000000000000';

/** present: this host's KVM can run a guest. enabled: this machine does. */
const kvmOf = ({ host, machine }: Vm) => ({
  enabled: machine.accel.name === 'kvm',
  present: host.accelerators.kvmPresent,
});

export const statusCommands = [
  command({
    name: 'query-vm',
    since: '0.1',
    summary: 'show who this VM is: role, state, peer, age, process',
    returns: vmInfo.type,
    run: vm => vmInfo.from({ vm, stands: standingOf(vm) }),
    show: info => `${info.name === undefined ? 'name: (none)\n' : ''}${vmInfo.show(info)}`,
  }),
  command({
    name: 'query-status',
    since: '0.1',
    summary: 'show the current VM status (running|paused)',
    returns: statusInfo,
    run: ({ machine: { runState } }) => ({ running: runState === 'running', status: runState }),
    show: ({ running, status }) =>
      'VM status: ' +
      `${running ? 'running' : 'paused'}${running || status === 'paused' ? '' : ` (${status})`}`,
  }),
  command({
    name: 'query-version',
    since: '0.1',
    summary: 'show the version of colo, and of the QEMU whose monitor it speaks',
    returns: struct('VersionInfo', { qemu: versionTriple, package: str() }),
    run: ({ host }) => versionInfo(host.process.version),
    show: ({ qemu, package: name }) => `${qemu.major}.${qemu.minor}.${qemu.micro} (${name})`,
  }),
  command({
    name: 'query-name',
    since: '0.1',
    summary: 'show the current VM name',
    returns: struct('NameInfo', { name: optional(str()) }),
    run: ({ spec: { name } }) => (name === undefined ? {} : { name }),
    show: info => info.name,
  }),
  command({
    name: 'query-uuid',
    since: '0.1',
    summary: 'show the current VM UUID',
    returns: struct('UuidInfo', { UUID: str() }),
    run: ({ spec }) => ({ UUID: spec.uuid ?? NO_UUID }),
    show: info => info.UUID,
  }),
  command({
    name: 'query-accelerators',
    hmpName: 'info accel',
    aliases: ['info accelerators'],
    since: '0.1',
    summary: 'show what runs the guest (*), and what else this host has',
    returns: struct('AcceleratorInfo', { enabled: accelerator, present: list(accelerator) }),
    run: vm => {
      const { enabled, present } = kvmOf(vm);
      return {
        enabled: enabled ? ('kvm' as const) : ('soft' as const),
        present: present || enabled ? ['soft' as const, 'kvm' as const] : ['soft' as const],
      };
    },
    show: ({ enabled, present }) =>
      present.map(name => `${name === enabled ? '*' : ' '} ${name}`).join('\n'),
  }),
  command({
    name: 'query-kvm',
    since: '0.1',
    summary: 'show KVM information',
    returns: struct('KvmInfo', { enabled: bool(), present: bool() }),
    run: vm => kvmOf(vm),
    show: info =>
      `kvm support: ${info.enabled ? 'enabled' : info.present ? 'disabled' : 'not available'}`,
  }),
];
