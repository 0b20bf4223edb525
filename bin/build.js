// Builds dist/: with tsc each module by itself, and with esbuild dist/bundle/, which bin/run.js
// runs: the same modules in few files, for reading hundreds of them is most of a start. What is
// imported late stays late, in a file of its own. Nothing else writes either of them, so that one
// is never older than the other; a mistake in a type leaves the bundle as it was, and says so.
import { spawnSync } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const bundle = 'dist/bundle';
const fresh = `${bundle}.new`;

/**
 * What bin/, packaging/ and oclif load; all files lie in one folder. A module that several commands
 * share is in a file for just those, which would make many files: the VM has copies of its own, and
 * a process runs one group alone.
 */
const groups = [
  { start: 'dist/host/node/start.js' },
  { vm: 'dist/commands/quick-vm.js' },
  {
    quick: 'dist/commands/quick.js',
    commands: 'dist/commands/index.js',
    help: 'dist/commands/help.js',
  },
  { ocf: 'dist/commands/ocf/main.js' },
];

function compile() {
  const tsc = fileURLToPath(import.meta.resolve('typescript/bin/tsc'));
  const options = ['-p', 'tsconfig.json', '--noEmit', 'false'];
  return spawnSync(process.execPath, [tsc, ...options], { stdio: 'inherit' }).status ?? 1;
}

/** Whoever starts colo meanwhile finds the old files or the new ones, but for a moment. */
async function makeBundle() {
  rmSync(fresh, { recursive: true, force: true });
  await Promise.all(groups.map(bundleGroup));
  rmSync(bundle, { recursive: true, force: true });
  renameSync(fresh, bundle);
}

function bundleGroup(entryPoints) {
  return build({
    entryPoints,
    outdir: fresh,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    packages: 'external',
    minifyWhitespace: true,
    chunkNames: '[name]-[hash]',
    sourcemap: true,
    sourcesContent: false,
    logLevel: 'warning',
  });
}

process.exitCode = compile();
if (process.exitCode === 0) await makeBundle();
