/** The end of what writes files: a file that hangs must not keep the VM's process. */
import { asVmError } from '../base/errors.js';
import type { Clock } from '../host/ports.js';
import { within } from '../migration/wait.js';

const CLOSE_MS = 5000;

/**
 * Resolves when all of them have settled, and in any case after a while; a line says so. Never
 * rejects: whoever writes a file has told of its own errors.
 */
export async function filesClosed(
  clock: Clock,
  closing: readonly (Promise<unknown> | undefined)[],
  note: (line: string) => void,
): Promise<void> {
  const all = Promise.allSettled(closing.flatMap(file => file ?? []));
  await within(clock, CLOSE_MS, 'files could not be closed', all).catch((error: unknown) =>
    note(asVmError(error).message),
  );
}
