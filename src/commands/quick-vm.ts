/**
 * The way to a VM past oclif and past every other command: what it starts with is bundled by
 * itself, in few files, for whoever starts a VM waits for it.
 */
import { Primary } from './primary.js';
import { Secondary } from './secondary.js';
import { runTool, type Tool } from './tool.js';

const vms: Readonly<Record<string, typeof Tool>> = { primary: Primary, secondary: Secondary };

/** False: these words are for oclif. */
export async function quicklyVm([name, ...words]: readonly string[]): Promise<boolean> {
  return runTool(vms[name], words);
}
