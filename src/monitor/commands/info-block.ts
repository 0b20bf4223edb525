/**
 * `info block`: the disks as a person reads them, with -v down to the files, with -n node by node.
 */
import { VmError } from '../../base/errors.js';
import { shortSize, type Table } from '../hmp/table.js';
import { type HmpSide, hmp, part } from '../schema.js';
import { flag, optional, str } from '../../words/types.js';
import type { BlockInfo, VmControl } from '../vm.js';

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
  table: async (vm, wanted): Promise<Table> => ({
    head: ['DEVICE', 'NODE', 'DRIVER', 'FILE', 'SIZE', 'MORE'],
    rows: chosen(vm, wanted as Wanted).map(found =>
      row(vm, found, (wanted as Wanted).verbose ?? false),
    ),
  }),
};

function chosen(vm: VmControl, { nodes = false, device }: Wanted): readonly BlockInfo[] {
  const block = part(vm, 'block');
  const all = nodes ? block.nodes() : block.info();
  if (device === undefined) return all;
  const found = all.filter(
    ({ device: id, qdev, nodeName }) =>
      (!nodes && (id === device || qdev === device)) || nodeName === device,
  );
  if (found.length === 0)
    throw new VmError(`${nodes ? 'Node' : 'Device'} '${device}' not found`, {
      class: 'DeviceNotFound',
    });
  return found;
}

function showDevice(b: BlockInfo): string {
  const name = b.device === '' ? b.nodeName : `${b.device} (${b.nodeName})`;
  return [`${name}: ${image(b)}`, ...[...b.details, ...bitmaps(b)].map(line => `    ${line}`)].join(
    '\n',
  );
}

const image = (b: BlockInfo) =>
  `${b.file === '' ? '' : `${b.file} `}(${b.driver}${b.readOnly ? ', read-only' : ''}), ` +
  `${b.sizeBytes} bytes`;

const bitmaps = (b: BlockInfo) =>
  b.bitmaps.map(
    ({ name, count, granularity, recording, busy }) =>
      `dirty bitmap '${name}': ${count} bytes in pieces of ` +
      `${granularity}${recording ? '' : ', disabled'}${busy ? ', busy' : ''}`,
  );

export const childLines = ({ children }: BlockInfo) =>
  children.map(({ child, nodeName }) => `${child}: ${nodeName}`);

/** One line for each node below; what is below those, further in. */
function below(vm: VmControl, { children }: BlockInfo): string[] {
  const nodes = part(vm, 'block').nodes();
  return children.flatMap(({ child, nodeName }) => {
    const node = nodes.find(known => known.nodeName === nodeName)!;
    return [
      `${child}: ${nodeName}: ${image(node)}`,
      ...[...bitmaps(node), ...below(vm, node)].map(line => `    ${line}`),
    ];
  });
}

function row(vm: VmControl, b: BlockInfo, verbose: boolean): string[] {
  const more = [...b.details, ...bitmaps(b), ...(verbose ? below(vm, b) : childLines(b))];
  return [
    b.device,
    b.nodeName,
    `${b.driver}${b.readOnly ? ' (ro)' : ''}`,
    b.file,
    shortSize(b.sizeBytes),
    more.join('\n'),
  ];
}
