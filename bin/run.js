#!/usr/bin/env node
import { quickly } from '../dist/commands/quick.js';

// oclif says 127 to a command that it does not know; a mistake of usage is 2.
process.on('exit', code => {
  if (code === 127) process.exitCode = 2;
});
if (!(await quickly(process.argv.slice(2)))) {
  const { execute, settings } = await import('@oclif/core');
  // What was built runs, whatever NODE_ENV a shell happens to have.
  settings.enableAutoTranspile = false;
  await execute({ dir: import.meta.url });
}
