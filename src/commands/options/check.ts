/**
 * What this build can do with a spec, before anything is opened: what it cannot is a mistake of
 * usage.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { OptionTree } from '../../block/options/option-tree.js';
import {
  type DriveSpec as BlockDrive,
  type NodeSpec,
  readBlockdev,
  readDrive,
} from '../../block/options/options.js';
import { checkSpec, namesIn } from '../../machine/check-spec.js';
import type { BlockdevSpec, DriveSpec, MachineSpec } from '../../machine/spec.js';
import { UsageError } from './argv.js';

export function checkUsage(spec: MachineSpec): void {
  asUsage(() => checkSpec(spec));
  asUsage(() => checkBlockdevs(spec.blockdevs));
  for (const drive of spec.drives) asUsage(() => void blockDrive(drive));
}

/** Each may refer to those before it. */
function checkBlockdevs(blockdevs: readonly BlockdevSpec[]): void {
  const known = new Set<string>();
  for (const blockdev of blockdevs) {
    for (const name of references(blockNode(blockdev))) {
      if (!known.has(name))
        throw new VmError(
          `-blockdev node-name=${blockdev.nodeName}: there is no node '${name}' before it`,
          {
            hint: 'Each -blockdev is opened in its turn, and all of them before the first -drive.',
          },
        );
    }
    for (const { id } of namesIn(blockdev.options)) known.add(id);
  }
}

function references(source: unknown): string[] {
  if (typeof source !== 'object' || source === null) return [];
  if ('reference' in source) return [String(source.reference)];
  return Object.values(source).flatMap(references);
}

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

function asUsage(check: () => void): void {
  try {
    check();
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new UsageError(message, { hint: options.hint, cause: error });
  }
}
