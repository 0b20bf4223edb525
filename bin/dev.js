#!/usr/bin/env -S node --import tsx --disable-warning=ExperimentalWarning
// From the sources, without a build.
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownStandardStreams } from '../src/host/node/own-stdio.ts';

ownStandardStreams();
// Only now: what is imported may look at standard error.
const { execute, settings } = await import('@oclif/core');

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const pjson = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
pjson.oclif.commands.target = './src/commands/index.ts';
pjson.oclif.helpClass.target = './src/commands/help.ts';
settings.enableAutoTranspile = false;
process.on('exit', code => {
  if (code === 127) process.exitCode = 2; // as in run.js
});
await execute({ dir: import.meta.url, loadOptions: { root, pjson, userPlugins: false } });
