// Formats every source file of the project: prettier for TypeScript, clang-format for C++.
// With --check nothing is written, and a file that is not formatted makes it fail.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const check = process.argv.includes('--check');

/** Runs a tool of node_modules/.bin. */
function run(tool, args) {
  const { status } = spawnSync(`node_modules/.bin/${tool}`, args, { stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}

run('prettier', [
  check ? '--check' : '--write',
  '--cache',
  '--cache-location=.cache/prettier',
  '--log-level=warn',
  '{src,test,man,bin}/**/*.{ts,js}',
  '*.js',
]);

const native = readdirSync('native', { recursive: true })
  .map(path => `native/${path}`)
  .filter(path => /\.(cc|h)$/.test(path) && !path.startsWith('native/build/'));
run('clang-format', [...(check ? ['--dry-run', '-Werror'] : ['-i']), ...native]);
