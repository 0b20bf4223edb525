/** The way to a command past oclif, for those that can do without it. */
import { type AnyCommand, commands } from './index.js';
import { Tool } from './tool.js';

const help = ['--help', '-h', '--version', '-V'];

/** False: these words are for oclif. */
export async function quickly(words: readonly string[]): Promise<boolean> {
  const command = commands[words.slice(0, 2).join(':')];
  if (!command || !isTool(command) || words.some(word => help.includes(word))) return false;
  try {
    await command.run(words.slice(2));
  } catch (error) {
    const { handle } = await import('@oclif/core');
    await handle(error as Error);
  }
  return true;
}

const isTool = (command: AnyCommand): command is typeof Tool => command.prototype instanceof Tool;
