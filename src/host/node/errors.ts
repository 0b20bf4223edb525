/** System errors as sentences: "Could not open '/x': No such file or directory". */
import { getSystemErrorMap } from 'node:util';
import { asVmError, VmError } from '../../base/errors.js';

export function systemError(action: string, thrown: unknown): VmError {
  const known = thrown instanceof Error ? getSystemErrorMap().get((thrown as NodeJS.ErrnoException).errno ?? 0) : undefined;
  if (!known) return asVmError(thrown).during(action);
  const [, text] = known;
  return new VmError(`${action}: ${text.charAt(0).toUpperCase()}${text.slice(1)}`, { cause: thrown });
}

export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error ? (thrown as NodeJS.ErrnoException).code : undefined;
}
