/** Programs of the host, run to their end. */
import { execFile, spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import { VmError } from '../../base/errors.js';
import { printable } from '../../base/printable.js';
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
  command,
};

const LAST_WORDS = 400;

/** In a group of its own: an agent's children must not go on after it was given up. */
function command(
  text: string,
  environment: Readonly<Record<string, string>>,
  timeoutMs: number,
): Promise<void> {
  const child = spawn('/bin/sh', ['-c', text], {
    env: { ...process.env, ...environment },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let words = '';
  const hear = (bytes: Buffer) => (words = (words + bytes.toString()).slice(-LAST_WORDS));
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      killGroup(child.pid);
      // Something that cannot be killed, as a process that waits for a dead disk, is left behind.
      end(`has not ended within ${timeoutMs} ms`);
      child.unref();
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeoutMs);
    const end = (why?: string) => {
      clearTimeout(timer);
      const said = words.trim() === '' ? '' : `: ${printable(words.trim(), LAST_WORDS)}`;
      if (why === undefined) resolve();
      else reject(new VmError(`'${text}' ${why}${said}`));
    };
    child.on('error', error => end(`cannot run (${error.message})`));
    child.on('exit', (code, signal) => {
      if (code === 0) end();
      else end(signal === null ? `ended with ${code}` : `was ended by ${signal}`);
    });
  });
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended just now.
  }
}
