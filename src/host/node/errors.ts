/** System errors as sentences: "Could not open '/x': No such file or directory". */
import { getSystemErrorMap } from 'node:util';
import { asVmError, VmError } from '../../base/errors.js';

export function systemError(action: string, thrown: unknown): VmError {
  const known = getSystemErrorMap().get(asErrno(thrown).errno ?? 0);
  if (!known) return asVmError(thrown).during(action);
  const [, text] = known;
  return new VmError(`${action}: ${text.charAt(0).toUpperCase()}${text.slice(1)}`, {
    cause: thrown,
  });
}

export function errorCode(thrown: unknown): string | undefined {
  return asErrno(thrown).code;
}

/** By shape, not by instanceof: errors of Node's own modules may come from another realm. */
function asErrno(thrown: unknown): Partial<NodeJS.ErrnoException> {
  return typeof thrown === 'object' && thrown !== null ? thrown : {};
}
