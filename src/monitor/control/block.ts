/** Drives, nodes and the NBD server. */
import type { BlockLayer } from '../../block/layer.js';
import type { BlockInfo as DriveInfo, NodeInfo } from '../../block/query.js';
import type { BlockControl, BlockInfo } from '../vm.js';

export function blockControl(block: BlockLayer): BlockControl {
  return {
    nbdServerStart: (address, tlsCreds) =>
      block.nbdServerStart(address.type === 'unix' ? { kind: 'unix', path: address.path } : { kind: 'tcp', host: address.host, port: address.port }, tlsCreds),
    nbdServerAdd: async options => block.nbdServerAdd(options),
    nbdServerStop: () => block.nbd.stop(),
    get devices() {
      return block.list().map(drive => drive.id);
    },
    driveAdd: (options, { nodeOnly }) => block.driveAdd(options, { noBackend: nodeOnly }),
    driveDel: id => block.driveDel(id),
    blockdevAdd: options => block.blockdevAdd(options),
    changeChildren: async change => {
      await block.blockdevChange(change);
    },
    info: () => block.queryBlock().map(driveInfo),
    nodes: () => block.queryNamedBlockNodes().map(node => nodeInfo('', node)),
  };
}

function driveInfo(drive: DriveInfo): BlockInfo {
  const info = nodeInfo(drive.device, drive.inserted);
  const front = drive.qdev === undefined ? 'Attached to: nothing' : `Attached to: ${drive.qdev}`;
  return { ...info, details: [front, `Cache mode: ${drive.cache}`, ...info.details] };
}

function nodeInfo(device: string, node: NodeInfo): BlockInfo {
  const { filename, ...others } = node.details;
  return {
    device,
    nodeName: node['node-name'],
    driver: node.drv,
    file: filename === undefined ? '' : String(filename),
    readOnly: node.ro,
    sizeBytes: node.length,
    details: [...Object.entries(others).map(([name, value]) => `${name}: ${value}`), ...node.children.map(({ child, 'node-name': name }) => `${child}: ${name}`)],
  };
}
