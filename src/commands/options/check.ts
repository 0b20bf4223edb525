/** What this build can do with a spec, before anything is opened: what it cannot is a mistake of usage. */
import { asVmError } from '../../base/errors.js';
import { OptionTree } from '../../block/option-tree.js';
import { type DriveSpec as BlockDrive, readDrive } from '../../block/options.js';
import { checkSpec } from '../../machine/check-spec.js';
import type { DriveSpec, MachineSpec } from '../../machine/spec.js';
import { UsageError } from './argv.js';

export function checkUsage(spec: MachineSpec): void {
  asUsage(() => checkSpec(spec));
  for (const drive of spec.drives) asUsage(() => void blockDrive(drive));
}

/** The block layer's view of a `-drive`. */
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
