/**
 * What this build can do with a spec, before anything is opened: what it cannot is a mistake of
 * usage.
 */
import { asVmError, VmError } from '../../base/errors.js';
import { checkSpec, namesIn } from '../../machine/check-spec.js';
import type { BlockdevSpec, MachineSpec } from '../../machine/spec.js';
import { blockDrive, blockNode } from '../../vm/disks.js';
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

function asUsage(check: () => void): void {
  try {
    check();
  } catch (error) {
    const { message, options } = asVmError(error);
    throw new UsageError(message, { hint: options.hint, cause: error });
  }
}
