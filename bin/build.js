// Builds dist/: with tsc each module by itself, and with esbuild dist/bundle/, which bin/run.js
// runs: the same modules in few files, for reading hundreds of them is most of a start. What is
// imported late stays late, in a file of its own. Nothing else writes either of them, so that one
// is never older than the other; a mistake in a type leaves the bundle as it was, and says so.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const bundle = 'dist/bundle';
const fresh = `${bundle}.new`;
const WARM_LIMIT_MS = 60_000;

/**
 * What bin/, packaging/ and oclif load; all files lie in one folder. A module that several commands
 * share is in a file for just those, which would make many files: the VM has copies of its own, in
 * one file, and a process runs one group alone.
 */
const vm = { vm: 'dist/commands/quick-vm.js' };
const groups = [
  { start: 'dist/host/node/start.js' },
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
  await Promise.all([bundleVm(), ...groups.map(bundleGroup)]);
  await warm();
  rmSync(bundle, { recursive: true, force: true });
  renameSync(fresh, bundle);
}

const common = {
  outdir: fresh,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  minifyWhitespace: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
};

function bundleGroup(entryPoints) {
  const chunks = { splitting: true, chunkNames: '[name]-[hash]' };
  return build({ ...common, ...chunks, entryPoints, format: 'esm', packages: 'external' });
}

/** For src/host/node/cached-script.ts, which has no import(): what is imported late is required. */
function bundleVm() {
  return build({
    ...common,
    entryPoints: vm,
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    define: { 'import.meta.url': 'bundleUrl' },
    supported: { 'dynamic-import': false },
    external: ['@oclif/core', 'cli-table3', 'node-gyp-build', 'ws', 'yaml'],
  });
}

/** Without a cache, or with a part of it, a VM starts too: later. */
async function warm() {
  const child = spawn(process.execPath, ['bin/warm.js', fresh], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: WARM_LIMIT_MS,
  });
  let said = '';
  child.stderr.on('data', bytes => (said += bytes));
  child.stdin.on('error', () => undefined);
  child.stdout.once('data', () =>
    child.stdin.end('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n'),
  );
  child.stdout.resume();
  const [code] = await once(child, 'close');
  if (code !== 0) console.error(`colo: no VM runs here, so one starts more slowly: ${said}`);
}

process.exitCode = compile();
if (process.exitCode === 0) await makeBundle();
