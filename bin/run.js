#!/usr/bin/env node
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadCached, startProcess } from '../dist/bundle/start.js';

startProcess();
// Only now: what is imported may look at standard error.
const words = process.argv.slice(2);

/** False: these words are for oclif. */
async function quickly() {
  if (words[0] === 'primary' || words[0] === 'secondary')
    return loadCached(new URL('../dist/bundle/vm.cjs', import.meta.url).href).exports.quicklyVm(
      words,
    );
  return (await import('../dist/bundle/quick.js')).quickly(words);
}

// oclif says 127 to a command that it does not know; a mistake of usage is 2.
process.on('exit', code => {
  if (code === 127) process.exitCode = 2;
});
if (!(await quickly())) {
  const { execute, settings } = await import('@oclif/core');
  // What was built runs, whatever NODE_ENV a shell happens to have.
  settings.enableAutoTranspile = false;
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  // There are no plugins of users': oclif would look for them in a home that may be closed to us,
  // and tell of it at length.
  await execute({ loadOptions: { root, userPlugins: false } });
}
