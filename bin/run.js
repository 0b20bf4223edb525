#!/usr/bin/env node
import { execute, settings } from '@oclif/core';

// What was built runs, whatever NODE_ENV a shell happens to have.
settings.enableAutoTranspile = false;

// oclif says 127 to a command that it does not know; a mistake of usage is 2.
process.on('exit', code => {
  if (code === 127) process.exitCode = 2;
});
await execute({ dir: import.meta.url });
