/**
 * `npm run test:conformance -- DIR [--accel soft|kvm] [--cpu MODEL] [--smp N] [--only NAME]
 * [--limit SECONDS] [--json]`: each *.flat of a folder, which are programs of kvm-unit-tests (not
 * part of colo: build them elsewhere), in a VM of its own. A table of what passed; exit code 1 if
 * any failed, ran too long or did not run, 2 if nothing could be tried.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Verdict, verdictOf } from './verdict.js';

interface Result extends Verdict {
  readonly name: string;
  readonly seconds: number;
}

const dev = fileURLToPath(new URL('../../bin/dev.js', import.meta.url));
const options = {
  accel: { type: 'string', default: 'soft' },
  cpu: { type: 'string', default: 'max' },
  smp: { type: 'string', default: '2' },
  only: { type: 'string' },
  /** Seconds for each program. */
  limit: { type: 'string', default: '120' },
  json: { type: 'boolean', default: false },
} as const;

function parse() {
  try {
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const [folder] = positionals;
    if (folder === undefined || positionals.length > 1)
      throw new Error('name one folder: npm run test:conformance -- DIR');
    if (!(Number(values.limit) > 0))
      throw new Error(`--limit ${values.limit}: a number above 0 is needed`);
    const names = readdirSync(folder)
      .filter(file => file.endsWith('.flat'))
      .map(file => file.slice(0, -'.flat'.length))
      .filter(name => values.only === undefined || name === values.only)
      .sort();
    if (names.length === 0)
      throw new Error(`${folder}: there is no ${values.only ?? '*'}.flat to run`);
    return { ...values, folder, names };
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(2);
  }
}

const asked = parse();

function run(name: string): Promise<Result> {
  const began = performance.now();
  const machine = `-accel ${asked.accel} -cpu ${asked.cpu} -smp ${asked.smp} -m 512 -no-reboot`;
  const rest = '-display none -monitor none -serial stdio -device pc-testdev';
  const argv = [
    ...`primary ${machine} ${rest} -device isa-debug-exit,iobase=0xf4`.split(' '),
    '-kernel',
    join(asked.folder, `${name}.flat`),
  ];
  const child = spawn(process.execPath, ['--import', 'tsx', dev, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { output: '', errors: '' };
  child.stdout.on('data', (bytes: Buffer) => (said.output += bytes.toString('latin1')));
  child.stderr.on('data', (bytes: Buffer) => (said.errors += bytes.toString('latin1')));
  let late = false;
  const bound = setTimeout(
    () => {
      late = true;
      child.kill('SIGKILL');
    },
    Number(asked.limit) * 1000,
  );
  return new Promise(resolve =>
    child.on('close', code => {
      clearTimeout(bound);
      const status = late ? undefined : (code ?? 0);
      const seconds = Math.round((performance.now() - began) / 100) / 10;
      resolve({ name, seconds, ...verdictOf(status, said.output, said.errors) });
    }),
  );
}

const columns = (cells: readonly (string | number)[]) =>
  `${String(cells[0]).padEnd(24)}${cells
    .slice(1, 5)
    .map(cell => String(cell).padStart(9))
    .join('')}  ${cells[5]}`;

if (!asked.json) console.log(columns(['program', 'passed', 'failed', 'skipped', 's', 'outcome']));
const results: Result[] = [];
for (const name of asked.names) {
  const r = await run(name);
  results.push(r);
  if (!asked.json)
    console.log(columns([name, r.passed, r.failed, r.skipped, r.seconds, r.outcome]));
}
const good = results.filter(({ outcome }) => outcome === 'passed' || outcome === 'skipped');
if (asked.json) console.log(JSON.stringify(results, null, 2));
else console.log(`${good.length} of ${results.length} programs passed or had nothing to test`);
process.exitCode = good.length === results.length ? 0 : 1;
