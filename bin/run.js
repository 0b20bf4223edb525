#!/usr/bin/env node
import { execute } from '@oclif/core';

// oclif says 127 to a command that it does not know; a mistake of usage is 2.
process.on('exit', code => {
  if (code === 127) process.exitCode = 2;
});
await execute({ dir: import.meta.url });
