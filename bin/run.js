#!/usr/bin/env node
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownStandardStreams } from '../dist/host/node/own-stdio.js';

ownStandardStreams();
// Only now: what is imported may look at standard error.
const { quickly } = await import('../dist/commands/quick.js');

// oclif says 127 to a command that it does not know; a mistake of usage is 2.
process.on('exit', code => {
  if (code === 127) process.exitCode = 2;
});
if (!(await quickly(process.argv.slice(2)))) {
  const { execute, settings } = await import('@oclif/core');
  // What was built runs, whatever NODE_ENV a shell happens to have.
  settings.enableAutoTranspile = false;
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  // There are no plugins of users': oclif would look for them in a home that may be closed to us,
  // and tell of it at length.
  await execute({ loadOptions: { root, userPlugins: false } });
}
