/**
 * A running machine with its disks, its network and its COLO, as the commands see it. Translates
 * words; decides nothing but who may.
 */
import { blockControl } from './control/block.js';
import { coloControl } from './control/colo.js';
import { inspectControl } from './control/inspect.js';
import { jobControl } from './control/jobs.js';
import { migrationControl } from './control/migration.js';
import { networkControl } from './control/network.js';
import { processControl } from './control/process.js';
import { yankControl } from './control/yank.js';
import type { Vm } from '../vm/vm.js';
import type { VmControl } from './vm.js';

const noUuid = '00000000-0000-0000-0000-000000000000';

export function vmControl(vm: Vm): VmControl {
  const { machine, colo, host } = vm;
  return {
    name: machine.spec.name,
    uuid: machine.spec.uuid ?? noUuid,
    version: host.process.version,
    kvm: { present: host.accelerators.kvmPresent, enabled: machine.accel.name === 'kvm' },
    get runState() {
      return machine.runState;
    },
    events: machine.events,
    stop: () => machine.stop(),
    cont: () => machine.cont(),
    reset: () => machine.reset(),
    powerdown: () => machine.powerdown(),
    quit: () => void host.clock.timer(0, () => machine.quit('host-qmp-quit')),
    migration: migrationControl(vm),
    colo: coloControl(colo),
    block: blockControl(vm.block),
    jobs: jobControl(vm.block),
    network: networkControl(vm),
    chardevs: vm.chardevs,
    objects: vm.objects,
    traces: vm.traces,
    inspect: inspectControl(machine),
    process: processControl(vm),
    yank: yankControl(vm),
  };
}
