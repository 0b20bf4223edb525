/** The disks of a machine: the nodes and drives of its spec, opened in order. */
import { asVmError } from '../base/errors.js';
import type { Events } from '../base/events.js';
import { type BlockHost } from '../block/graph/graph.js';
import { BlockLayer } from '../block/layer/layer.js';
import type { CredentialStore } from '../host/credentials.js';
import type { CheckedSpec } from '../machine/check-spec.js';
import type { MachineSpec } from '../machine/spec.js';
import type { QmpEvents } from '../qapi/types.js';
import { comesByItself } from './incoming.js';

export async function openDisks(
  spec: CheckedSpec,
  host: BlockHost,
  events: Events<QmpEvents>,
  credentials: CredentialStore,
): Promise<BlockLayer> {
  const block = new BlockLayer(host, events);
  block.graph.credentials = credentials;
  block.graph.opensInactive = sharesImages(spec);
  try {
    for (const node of spec.disks.nodes) {
      await block.graph.build(node).catch((error: unknown) => {
        throw asVmError(error).during(`-blockdev node-name=${node.nodeName}`);
      });
    }
    for (const drive of spec.disks.drives) {
      await block.addDrive(drive).catch((error: unknown) => {
        throw asVmError(error).during(`-drive id=${drive.id}`);
      });
    }
    block.graph.opensInactive = false;
    return block;
  } catch (error) {
    await block.close();
    throw error;
  }
}

/** During a live migration the source may use the images until the guest is here. */
function sharesImages({ role, incoming }: MachineSpec): boolean {
  if (role === 'secondary' || incoming === undefined) return false;
  return incoming === 'defer' || comesByItself(incoming);
}
