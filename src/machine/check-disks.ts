/**
 * The disks of a spec as the block layer has them: each -blockdev and -drive is read once, before
 * anything is opened.
 */
import { asVmError, VmError } from '../base/errors.js';
import { OptionTree } from '../block/options/option-tree.js';
import {
  type DriveSpec as BlockDrive,
  type NodeSpec,
  readBlockdev,
  readDrive,
} from '../block/options/options.js';
import type { BlockdevSpec, DriveOption, MachineSpec } from './spec.js';

/** In the order in which they are opened: first the nodes. */
export interface CheckedDisks {
  readonly nodes: readonly NodeSpec[];
  readonly drives: readonly BlockDrive[];
}

export const checkDisks = ({ blockdevs, drives }: MachineSpec): CheckedDisks => ({
  nodes: checkBlockdevs(blockdevs),
  drives: drives.map(readOne),
});

/** Each may refer to those before it. */
function checkBlockdevs(blockdevs: readonly BlockdevSpec[]): NodeSpec[] {
  const known = new Set<string>();
  return blockdevs.map(blockdev => {
    const node = readNode(blockdev);
    const unknown = references(node).find(name => !known.has(name));
    if (unknown !== undefined)
      throw new VmError(
        `-blockdev node-name=${blockdev.nodeName}: there is no node '${unknown}' before it`,
        {
          hint: 'Each -blockdev is opened in its turn, and all of them before the first -drive.',
        },
      );
    for (const { id } of namesIn(blockdev.options)) known.add(id);
    return node;
  });
}

function references(source: unknown): string[] {
  if (typeof source !== 'object' || source === null) return [];
  if ('reference' in source) return [String(source.reference)];
  return Object.values(source).flatMap(references);
}

function readNode({ nodeName, options }: BlockdevSpec): NodeSpec {
  try {
    return readBlockdev(OptionTree.from(options));
  } catch (error) {
    throw asVmError(error).during(`-blockdev node-name=${nodeName}`);
  }
}

function readOne({ id, interface: kind, options }: DriveOption): BlockDrive {
  try {
    return readDrive(OptionTree.from({ ...options, id, if: kind }));
  } catch (error) {
    throw asVmError(error).during(`-drive id=${id}`);
  }
}

/** By name: those of -blockdev, and those that a -blockdev or a -drive names inside. */
export function nodeNames(spec: MachineSpec): { id: string }[] {
  return [...spec.blockdevs, ...spec.drives].flatMap(({ options }) => namesIn(options));
}

function namesIn(options: unknown): { id: string }[] {
  if (typeof options !== 'object' || options === null) return [];
  const { 'node-name': own, ...rest } = options as Readonly<Record<string, unknown>>;
  return [
    ...(typeof own === 'string' ? [{ id: own }] : []),
    ...Object.values(rest).flatMap(namesIn),
  ];
}
