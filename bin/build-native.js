// Builds the native addon (npm's `prepare` of a clone runs it). Quiet where nothing changed, and
// then it builds nothing. A published package carries a prebuilt addon instead and never comes
// here: --prebuild makes it. --force compiles everything anew.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = fileURLToPath(new URL('../native', import.meta.url));
const output = join(native, 'build/Release/colo.node');
const jobs = process.env.JOBS ?? String(availableParallelism());
const force = process.argv.includes('--force');

/** What a build needs that npm does not bring: program, Debian package. */
const TOOLS = [
  ['python3', 'python3'],
  ['make', 'make'],
  ['g++', 'g++'],
];
/** As the compiler names them: header, Debian package. */
const HEADERS = [['zstd.h', 'libzstd-dev']];

function onPath(program) {
  return (process.env.PATH ?? '').split(delimiter).some(dir => existsSync(join(dir, program)));
}

function hasHeader(header) {
  return (
    spawnSync('g++', ['-E', '-x', 'c++', '-'], {
      input: `#include <${header}>\n`,
      stdio: ['pipe', 'ignore', 'ignore'],
    }).status === 0
  );
}

function* inputs(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    if (entry.isDirectory() && entry.name !== 'build' && entry.name !== 'prebuilds')
      yield* inputs(join(dir, entry.name));
    else if (/\.(cc|h|gyp|gypi|S)$/.test(entry.name)) yield join(dir, entry.name);
  }
}

function upToDate() {
  if (!existsSync(output)) return false;
  const built = statSync(output).mtimeMs;
  return [...inputs(native)].every(file => statSync(file).mtimeMs < built);
}

/**
 * Node's headers, if this Node came with its own (a distribution's package, a tarball): then
 * nothing is downloaded.
 */
function headers() {
  if (process.env.npm_config_nodedir) return [];
  const prefix = dirname(dirname(realpathSync(process.execPath)));
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

/** `configure` forgets what was compiled; without it make compiles only what changed. */
function verbs() {
  const makefile = join(native, 'build/Makefile');
  const stale =
    force ||
    !existsSync(makefile) ||
    statSync(join(native, 'binding.gyp')).mtimeMs > statSync(makefile).mtimeMs;
  return stale ? ['configure', 'build'] : ['build'];
}

function gyp(verb) {
  const script = createRequire(import.meta.url).resolve('node-gyp/bin/node-gyp.js');
  const env = { ...process.env, JOBS: jobs };
  const run = spawnSync(process.execPath, [script, verb, ...headers()], {
    cwd: native,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (run.status === 0) return true;
  process.stderr.write(
    `${run.stdout ?? ''}${run.stderr ?? ''}\ncolo: building the native addon failed; the ` +
      `compiler's output is above.\n`,
  );
  return false;
}

/**
 * Where node-gyp-build looks in an installed package. Function names stay, for a crash in the field
 * must be readable.
 */
function prebuild() {
  const dir = join(native, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(dir, { recursive: true });
  copyFileSync(output, join(dir, 'node.napi.node'));
  spawnSync('strip', ['--strip-debug', join(dir, 'node.napi.node')], { stdio: 'inherit' });
}

function build() {
  if (!force && upToDate()) return 0;
  const missing = TOOLS.filter(([program]) => !onPath(program));
  for (const [program, debian] of missing) {
    console.error(
      `colo: ${program} is needed to build the native addon; on Debian: apt-get install ${debian}`,
    );
  }
  const headerless = missing.length > 0 ? [] : HEADERS.filter(([header]) => !hasHeader(header));
  for (const [header, debian] of headerless)
    console.error(
      `colo: <${header}> is needed to build the native addon; on Debian: apt-get install ${debian}`,
    );
  if (missing.length + headerless.length > 0) return 1;
  console.log(
    `colo: building the native addon, on ${jobs} of ${availableParallelism()} cores; from ` +
      'nothing it takes 1 to 3 minutes',
  );
  return verbs().every(gyp) ? 0 : 1;
}

process.exitCode = build();
if (process.exitCode === 0 && process.argv.includes('--prebuild')) prebuild();
