/** The secondary's side of one replicated disk, s.img in dir, with its export at path. */
import { BlockLayer } from '../../../src/block/layer/layer.js';
import { parseDrive } from '../../../src/block/options/options.js';
import type { SecondaryDisk } from '../../../src/block/contract/replicated.js';
import { nodeHost } from '../../../src/host/node/host.js';

export async function secondaryOf(
  dir: string,
  path: string,
): Promise<{ layer: BlockLayer; disk: SecondaryDisk }> {
  const layer = new BlockLayer(nodeHost());
  await layer.addDrive(parseDrive(`if=none,id=c,file.filename=${dir}/s.img,driver=raw`));
  await layer.addDrive(parseDrive('if=virtio,id=a,driver=replication,mode=secondary,file=c'));
  layer.claim('a', 'guest');
  await layer.nbd.start({ kind: 'unix', path });
  layer.nbdServerAdd({ device: 'c', writable: true });
  const [disk] = layer.secondaryDisks();
  await disk.start();
  return { layer, disk };
}
