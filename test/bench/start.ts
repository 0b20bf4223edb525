/**
 * `npm run bench:start [-- --json] [--runs 20]`: how long a trivial command takes to start, against
 * a bare oclif program that says hello. The two take turns; the ratio is the median of those of the
 * pairs. Exit code 1 above the bound.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const bound = 1.3;
const root = fileURLToPath(new URL('../../', import.meta.url));
const { json, runs } = parseArgs({
  options: { json: { type: 'boolean', default: false }, runs: { type: 'string', default: '20' } },
}).values;
const dir = mkdtempSync(join(tmpdir(), 'colo-start-'));

/** As colo is one: explicit commands, the help and not-found plugins. */
function bareProgram(): string {
  mkdirSync(join(dir, 'dist'));
  symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
  const oclif = {
    bin: 'bare',
    commands: { strategy: 'explicit', target: './dist/index.js', identifier: 'commands' },
    plugins: ['@oclif/plugin-help', '@oclif/plugin-not-found'],
  };
  const dependencies = {
    '@oclif/core': '*',
    '@oclif/plugin-help': '*',
    '@oclif/plugin-not-found': '*',
  };
  writeFileSync(
    join(dir, 'package.json'),
    JSON.stringify({ name: 'bare', version: '1.0.0', type: 'module', oclif, dependencies }),
  );
  writeFileSync(
    join(dir, 'dist/index.js'),
    "import { Command } from '@oclif/core';\nclass Hello extends Command { async run() { " +
      "this.log('hello'); } }\nexport const commands = { hello: Hello };\n",
  );
  writeFileSync(
    join(dir, 'run.js'),
    "import { execute } from '@oclif/core';\nawait execute({ dir: import.meta.url });\n",
  );
  return join(dir, 'run.js');
}

function wallMs(...argv: string[]): number {
  const from = performance.now();
  const { status, stderr } = spawnSync(process.execPath, argv, {
    encoding: 'utf8',
    env: { ...process.env, XDG_RUNTIME_DIR: dir },
  });
  if (status !== 0) throw new Error(`${argv.join(' ')}: exit code ${status}\n${stderr}`);
  return performance.now() - from;
}

/** Of pairs that ran one after the other: a busy moment slows both. */
const median = (values: number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

try {
  const bare = bareProgram();
  const colo = join(root, 'bin/run.js');
  wallMs(bare, 'hello');
  wallMs(colo, 'list');
  const pairs = Array.from({ length: Number(runs) }, () => ({
    bareMs: wallMs(bare, 'hello'),
    coloMs: wallMs(colo, 'list'),
  }));
  const bareMs = median(pairs.map(pair => pair.bareMs));
  const coloMs = median(pairs.map(pair => pair.coloMs));
  const ratio = median(pairs.map(pair => pair.coloMs / pair.bareMs));
  const machine = {
    cpu: cpus()[0].model,
    cores: cpus().length,
    load: loadavg()[0],
    node: process.version,
  };
  if (json)
    console.log(
      JSON.stringify({
        command: 'colo list',
        coloMs,
        bareMs,
        ratio,
        bound,
        runs: pairs.length,
        machine,
      }),
    );
  else
    console.log(
      `colo list ${coloMs.toFixed(0)} ms, a bare oclif program ${bareMs.toFixed(0)} ms: ratio ` +
        `${ratio.toFixed(2)} (bound ${bound}), medians of ${pairs.length} ` +
        `pairs\n${machine.cores} x ${machine.cpu}, load ${machine.load.toFixed(1)}, Node ` +
        `${machine.node}`,
    );
  process.exitCode = ratio <= bound ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
