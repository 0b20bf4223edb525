/**
 * Opens what a VM is made of. Objects that drives and chardevs may use are there before them, and
 * end with a machine that cannot be built.
 */
import { assert } from '../base/errors.js';
import type { BlockLayer } from '../block/layer/layer.js';
import { Machine } from '../machine/machine.js';
import type { MachineParts } from '../machine/parts.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import { Chardevs } from './chardevs.js';
import { chooseCpu } from './cpu.js';
import { openDisks } from './disks.js';
import type { VmHost } from './host.js';
import { Network } from './network.js';
import { addObjects, credentialsOf, objectsOf } from './objects.js';
import type { Objects } from './objects/registry.js';

/** Filled while the machine is built. */
interface Opened {
  block?: BlockLayer;
  network?: Network;
  chardevs?: Chardevs;
}

export type OpenParts = Required<Opened> & {
  readonly machine: Machine;
  readonly objects: Objects;
};

export async function openParts(spec: CheckedSpec, host: VmHost): Promise<OpenParts> {
  const chosen = chooseCpu(spec, host.accelerators, line => host.note(line));
  const opened: Opened = {};
  const objects = objectsOf(host, opened);
  try {
    await addObjects(spec, objects, 'early');
    const machine = await Machine.build(spec, {
      ...machineParts(host, opened, objects),
      createAccel: ({ ramBytes }) => host.accelerators.create({ ...chosen, ramBytes }),
    });
    const { block, network, chardevs } = opened;
    assert(block && network && chardevs, 'the machine opened its parts');
    return { machine, objects, block, network, chardevs };
  } catch (error) {
    objects.dispose();
    throw error;
  }
}

function machineParts(
  host: VmHost,
  opened: Opened,
  objects: Objects,
): Omit<MachineParts, 'createAccel'> {
  const note = (line: string) => host.note(line);
  return {
    clock: host.clock,
    files: host.files,
    entropy: host.entropy,
    report: note,
    openDrives: async (spec, events) => {
      const block = await openDisks(spec, host, events, credentialsOf(objects));
      opened.block = block;
      return {
        claim: (name, device, properties) => block.claim(name, device, properties),
        list: () => block.manifest(),
        close: () => block.close(),
      };
    },
    openNet: async spec => (opened.network = await Network.create(spec, host)),
    openChardevs: async spec =>
      (opened.chardevs = await Chardevs.create(spec.chardevs, { ...host, log: note })),
  };
}
