/**
 * `info block`: the disks as a person reads them, with -v down to the files, with -n node by node.
 */
import { VmError } from '../../base/errors.js';
import type { Vm } from '../../vm/vm.js';
import type { BlockInfo } from '../../block/layer/query.js';
import {
  bitmapLines,
  childLines,
  detailLines,
  type Disk,
  diskOf,
  frontLines,
} from '../block-info.js';
import { shortSize, type TextTable } from '../hmp/table.js';
import { type HmpSide, hmp } from '../schema.js';
import { flag, optional, str } from '../../words/types.js';

const args = {
  nodes: flag('n', 'every node of the graph, not the disks alone'),
  verbose: flag('v', 'and what lies below each'),
  device: optional(str('only this device or node', { complete: 'block-nodes' })),
};

/** A drive that is empty has no node. */
type Shown = Disk | { readonly drive: BlockInfo; readonly node?: undefined };

interface Wanted {
  nodes?: boolean;
  verbose?: boolean;
  device?: string;
}

export const infoBlock: HmpSide = {
  ...hmp(args, (vm, wanted) =>
    chosen(vm, wanted)
      .map(found =>
        [showDevice(found), ...lower(vm, found, wanted.verbose).map(line => `    ${line}`)].join(
          '\n',
        ),
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

function chosen({ block }: Vm, { nodes = false, device }: Wanted): readonly Shown[] {
  const all: Shown[] = nodes
    ? block.queryNamedBlockNodes().map(node => ({ node }))
    : block.queryBlock().map(drive => diskOf(drive) ?? { drive });
  if (device === undefined) return all;
  const found = all.filter(
    ({ drive, node }) =>
      node?.['node-name'] === device || drive?.device === device || drive?.qdev === device,
  );
  if (found.length === 0)
    throw new VmError(`${nodes ? 'Node' : 'Device'} '${device}' not found`, {
      class: 'DeviceNotFound',
    });
  return found;
}

function lower(vm: Vm, found: Shown, verbose = false): string[] {
  if (!found.node) return [];
  return verbose ? below(vm, found) : childLines(found);
}

function showDevice(disk: Shown): string {
  if (!disk.node) return showEmpty(disk.drive);
  const { drive, node } = disk;
  const id = node['node-name'];
  const name = drive === undefined || drive.device === '' ? id : `${drive.device} (${id})`;
  const lines = [...detailLines(disk), ...bitmapLines(disk)].map(line => `    ${line}`);
  return [`${name}: ${image(disk)}`, ...lines].join('\n');
}

function showEmpty(drive: BlockInfo): string {
  const lines = frontLines(drive).map(line => `    ${line}`);
  return [`${drive.device}: [not inserted]`, ...lines].join('\n');
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

function row(vm: Vm, disk: Shown, verbose: boolean): string[] {
  if (!disk.node) return emptyRow(disk.drive);
  const { drive, node } = disk;
  const more = [...detailLines(disk), ...bitmapLines(disk), ...lower(vm, disk, verbose)];
  return [
    drive?.device ?? '',
    node['node-name'],
    `${node.drv}${node.ro ? ' (ro)' : ''}`,
    node.filename,
    shortSize(node.length),
    more.join('\n'),
  ];
}

const emptyRow = (drive: BlockInfo): string[] => [
  drive.device,
  ...['', '', '[not inserted]', ''],
  frontLines(drive).join('\n'),
];
