/** The way to a command past oclif, for those that can do without it. */
import { commands, namedBy } from './index.js';
import { runTool, Tool } from './tool.js';

/** False: these words are for oclif. */
export async function quickly(words: readonly string[]): Promise<boolean> {
  const named = namedBy(words);
  const command = commands[named[0]];
  if (named.length > 1 || !(command.prototype instanceof Tool)) return false;
  return runTool(command as typeof Tool, words.slice(words[0] === named[0] ? 1 : 2));
}
