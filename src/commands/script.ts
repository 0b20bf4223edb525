/** Lines of the human monitor from a file or from standard input, one after the other. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { VmError } from '../base/errors.js';
import { systemError } from '../host/node/errors.js';
import { isComment } from '../monitor/hmp/shell.js';
import { looksFailed } from './hmp.js';

export interface ScriptOptions {
  readonly echo: boolean;
  readonly keepGoing: boolean;
}

/**
 * VmError: the first line that failed, by its number; with keepGoing after all the others have run.
 */
export async function runScript(
  path: string,
  { echo, keepGoing }: ScriptOptions,
  run: (line: string) => Promise<string>,
): Promise<void> {
  const name = path === '-' ? 'standard input' : path;
  let first: VmError | undefined;
  let number = 0;
  for await (const line of linesOf(path)) {
    number++;
    if (line.trim() === '' || isComment(line)) continue;
    if (echo) process.stdout.write(`(colo) ${line}\n`);
    const output = await run(line);
    process.stdout.write(output);
    if (!looksFailed(output)) continue;
    first ??= new VmError(`${name}:${number}: this line failed: ${line.trim()}`);
    if (!keepGoing) break;
  }
  if (first) throw first;
}

async function* linesOf(path: string): AsyncGenerator<string> {
  const input = path === '-' ? process.stdin : createReadStream(path);
  try {
    for await (const line of createInterface({ input, terminal: false })) yield line;
  } catch (error) {
    throw systemError(`Could not read '${path}'`, error);
  } finally {
    input.destroy();
  }
}
