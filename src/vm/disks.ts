/** The disks of a machine: the nodes and drives of its spec, opened in order. */
import { asVmError } from '../base/errors.js';
import type { Events } from '../base/events.js';
import { type BlockHost } from '../block/graph/graph.js';
import { BlockLayer } from '../block/layer/layer.js';
import type { CredentialStore } from '../block/nbd/credentials.js';
import { OptionTree } from '../block/options/option-tree.js';
import {
  type DriveSpec as BlockDrive,
  type NodeSpec,
  readBlockdev,
  readDrive,
} from '../block/options/options.js';
import type { BlockdevSpec, DriveSpec, MachineSpec } from '../machine/spec.js';
import type { QmpEvents } from '../qapi/types.js';
import { comesByItself } from './incoming.js';

/** The block layer's view of a `-blockdev`. */
export function blockNode({ nodeName, options }: BlockdevSpec): NodeSpec {
  try {
    return readBlockdev(OptionTree.from(options));
  } catch (error) {
    throw asVmError(error).during(`-blockdev node-name=${nodeName}`);
  }
}

/** And of a `-drive`. */
export function blockDrive(drive: DriveSpec): BlockDrive {
  try {
    return readDrive(OptionTree.from({ ...drive.options, id: drive.id, if: drive.interface }));
  } catch (error) {
    throw asVmError(error).during(`-drive id=${drive.id}`);
  }
}

export async function openDisks(
  spec: MachineSpec,
  host: BlockHost,
  events: Events<QmpEvents>,
  credentials: CredentialStore,
): Promise<BlockLayer> {
  const block = new BlockLayer(host, events);
  block.graph.credentials = credentials;
  block.graph.opensInactive = sharesImages(spec);
  try {
    for (const blockdev of spec.blockdevs) {
      await block.graph.build(blockNode(blockdev)).catch((error: unknown) => {
        throw asVmError(error).during(`-blockdev node-name=${blockdev.nodeName}`);
      });
    }
    for (const drive of spec.drives) {
      await block.addDrive(blockDrive(drive)).catch((error: unknown) => {
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

/** A guest that comes live may have its images in use until it is here. */
function sharesImages({ role, incoming }: MachineSpec): boolean {
  if (role === 'secondary' || incoming === undefined) return false;
  return incoming === 'defer' || comesByItself(incoming);
}
