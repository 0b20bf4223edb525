/**
 * `info block`: the disks as a person reads them, with -v down to the files, with -n node by node.
 */
import { VmError } from '../../base/errors.js';
import type { Vm } from '../../vm/vm.js';
import { bitmapLines, childLines, detailLines, type Disk, diskOf } from '../block-info.js';
import { shortSize, type TextTable } from '../hmp/table.js';
import { type HmpSide, hmp } from '../schema.js';
import { flag, optional, str } from '../../words/types.js';

const args = {
  nodes: flag('n', 'every node of the graph, not the disks alone'),
  verbose: flag('v', 'and what lies below each'),
  device: optional(str('only this device or node', { complete: 'block-nodes' })),
};

interface Wanted {
  nodes?: boolean;
  verbose?: boolean;
  device?: string;
}

export const infoBlock: HmpSide = {
  ...hmp(args, (vm, wanted) =>
    chosen(vm, wanted)
      .map(found =>
        [
          showDevice(found),
          ...(wanted.verbose ? below(vm, found) : childLines(found)).map(line => `    ${line}`),
        ].join('\n'),
      )
      .join('\n'),
  ),
  table: async (vm, wanted): Promise<TextTable> => ({
    head: ['DEVICE', 'NODE', 'DRIVER', 'FILE', 'SIZE', 'MORE'],
    rows: chosen(vm, wanted as Wanted).map(found =>
      row(vm, found, (wanted as Wanted).verbose ?? false),
    ),
  }),
};

function chosen({ block }: Vm, { nodes = false, device }: Wanted): readonly Disk[] {
  const all: Disk[] = nodes
    ? block.queryNamedBlockNodes().map(node => ({ node }))
    : block.queryBlock().map(diskOf);
  if (device === undefined) return all;
  const found = all.filter(
    ({ drive, node }) =>
      node['node-name'] === device || drive?.device === device || drive?.qdev === device,
  );
  if (found.length === 0)
    throw new VmError(`${nodes ? 'Node' : 'Device'} '${device}' not found`, {
      class: 'DeviceNotFound',
    });
  return found;
}

function showDevice(disk: Disk): string {
  const { drive, node } = disk;
  const id = node['node-name'];
  const name = drive === undefined || drive.device === '' ? id : `${drive.device} (${id})`;
  const lines = [...detailLines(disk), ...bitmapLines(disk)].map(line => `    ${line}`);
  return [`${name}: ${image(disk)}`, ...lines].join('\n');
}

const image = ({ node: { filename, drv, ro, length } }: Disk) =>
  `${filename === '' ? '' : `${filename} `}(${drv}${ro ? ', read-only' : ''}), ${length} bytes`;

/** One line for each node below; what is below those, further in. */
function below({ block }: Vm, disk: Disk): string[] {
  const nodes = block.queryNamedBlockNodes();
  const under = ({ node: { children } }: Disk): string[] =>
    children.flatMap(({ child, 'node-name': name }) => {
      const found = { node: nodes.find(known => known['node-name'] === name)! };
      const lines = [...bitmapLines(found), ...under(found)].map(line => `    ${line}`);
      return [`${child}: ${name}: ${image(found)}`, ...lines];
    });
  return under(disk);
}

function row(vm: Vm, disk: Disk, verbose: boolean): string[] {
  const { drive, node } = disk;
  const more = [
    ...detailLines(disk),
    ...bitmapLines(disk),
    ...(verbose ? below(vm, disk) : childLines(disk)),
  ];
  return [
    drive?.device ?? '',
    node['node-name'],
    `${node.drv}${node.ro ? ' (ro)' : ''}`,
    node.filename,
    shortSize(node.length),
    more.join('\n'),
  ];
}
