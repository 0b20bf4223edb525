/** Programs of the host, run to their end. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import { VmError } from '../../base/errors.js';
import type { Programs } from '../ports.js';

const run = promisify(execFile);

export const nodePrograms: Programs = {
  executable: path =>
    access(path, constants.X_OK).then(
      () => true,
      () => false,
    ),
  run: async (path, args, timeoutMs) => {
    try {
      await run(path, args, { timeout: timeoutMs });
    } catch (error) {
      throw new VmError((error as Error).message, { cause: error });
    }
  },
};
