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
import type { ControlParts } from './control/parts.js';
import { processControl } from './control/process.js';
import { yankControl } from './control/yank.js';
import type { VmControl } from './vm.js';

const noUuid = '00000000-0000-0000-0000-000000000000';

export function vmControl(parts: ControlParts): VmControl {
  const { machine, colo, clock } = parts;
  return {
    name: machine.spec.name,
    uuid: machine.spec.uuid ?? noUuid,
    version: parts.version,
    kvm: { present: parts.kvmPresent, enabled: machine.accel.name === 'kvm' },
    get runState() {
      return machine.runState;
    },
    events: machine.events,
    stop: () => machine.stop(),
    cont: () => machine.cont(),
    reset: () => machine.reset(),
    powerdown: () => machine.powerdown(),
    quit: () => void clock.timer(0, () => machine.quit('host-qmp-quit')),
    migration: migrationControl(parts),
    colo: coloControl(colo),
    block: blockControl(parts.block),
    jobs: jobControl(parts.block),
    network: networkControl(parts),
    chardevs: parts.chardevs,
    objects: parts.objects,
    traces: parts.traces,
    inspect: inspectControl(parts),
    process: processControl(parts),
    yank: yankControl(parts),
  };
}
