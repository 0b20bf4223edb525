/**
 * Debian's programs, run for what they print; one that is missing is told with the package that has
 * it.
 */
import { execFileSync } from 'node:child_process';

export class MissingTool extends Error {}

export function tool(command: string, args: string[], packageName: string, cwd?: string): string {
  try {
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: [...stdio] });
  } catch (error) {
    throw toolFailed(command, args, packageName, error);
  }
}

/** error: as child_process gives it, with the program's standard error where there is one. */
export function toolFailed(
  command: string,
  args: string[],
  packageName: string,
  error: unknown,
): Error {
  const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
  if (code === 'ENOENT')
    return new MissingTool(`${command} is missing: apt-get install ${packageName}`);
  return new Error(
    `${command} ${args.join(' ')} failed: ${(stderr ?? '').trim() || String(error)}`,
  );
}
