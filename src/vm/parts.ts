/**
 * Opens what a VM is made of. Objects that drives and chardevs may use are there before them, and
 * end with a machine that cannot be built.
 */
import type { BlockLayer } from '../block/layer/layer.js';
import { Machine } from '../machine/machine.js';
import type { MachinePorts } from '../machine/ports.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import { Chardevs } from './chardevs.js';
import { chooseCpu } from './cpu.js';
import { openDisks } from './disks.js';
import type { VmHost } from './host.js';
import { Network } from './network.js';
import { addObjects, credentialsOf, objectsOf } from './objects.js';
import type { Objects } from './objects/registry.js';

export interface VmAssembly {
  readonly machine: Machine;
  readonly objects: Objects;
  readonly block: BlockLayer;
  readonly network: Network;
  readonly chardevs: Chardevs;
}

export async function assemble(spec: CheckedSpec, host: VmHost): Promise<VmAssembly> {
  const chosen = chooseCpu(spec, host.accelerators, line => host.note(line));
  let backends: { readonly net: Network; readonly chardevs: Chardevs } | undefined;
  const objects = objectsOf(host, () => backends);
  try {
    await addObjects(spec, objects, 'early');
    const machine = await Machine.build(spec, {
      ...machineParts(host, objects),
      createAccel: sizes =>
        host.accelerators.create({ ...chosen, ...sizes, lockstep: spec.lockstep === true }),
    });
    backends = machine.backends;
    const { drives: block, net: network, chardevs } = machine.backends;
    return { machine, objects, block, network, chardevs };
  } catch (error) {
    objects.dispose();
    throw error;
  }
}

function machineParts(
  host: VmHost,
  objects: Objects,
): Omit<MachinePorts<BlockLayer, Network, Chardevs>, 'createAccel'> {
  const note = (line: string) => host.note(line);
  const credentials = credentialsOf(objects);
  return {
    clock: host.clock,
    files: host.files,
    entropy: host.entropy,
    stopLimitMs: host.limits.stopMs,
    report: note,
    openDrives: (given, events) => openDisks(given, host, events, credentials),
    openNet: given => Network.create(given, host),
    openChardevs: given => Chardevs.create(given.chardevs, { ...host, credentials, log: note }),
  };
}
