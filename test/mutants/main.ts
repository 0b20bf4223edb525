/**
 * `npm run test:mutants [-- --json]`: each deliberate fault, switched on, must be caught by the
 * specs that guard its rule; switched off, the same specs must pass. A fault that no spec notices
 * is a hole in the tests.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutants, type Mutant } from '../../src/base/mutant.js';
import { guards } from './guards.js';

const runner = fileURLToPath(new URL('../run.js', import.meta.url));

function specsPass(specs: readonly string[], mutant?: Mutant): { pass: boolean; output: string } {
  const env: NodeJS.ProcessEnv = { ...process.env, NODE_ENV: 'test' };
  if (mutant) env.COLO_MUTANT = mutant;
  else delete env.COLO_MUTANT;
  const { status, stdout, stderr } = spawnSync(process.execPath, [runner, ...specs], {
    env,
    encoding: 'utf8',
    timeout: 600_000,
  });
  return { pass: status === 0, output: stdout + stderr };
}

const { json } = parseArgs({ options: { json: { type: 'boolean', default: false } } }).values;
const results = mutants.map(mutant => {
  const specs = guards[mutant];
  const sound = specsPass(specs);
  const broken = specsPass(specs, mutant);
  const caught = sound.pass && !broken.pass;
  if (!json)
    console.log(
      `${mutant.padEnd(28)} ` +
        `${caught ? 'caught' : sound.pass ? 'NOT CAUGHT' : 'its specs fail without it'} by ` +
        `${specs.join(', ')}`,
    );
  if (!sound.pass && !json) console.log(sound.output.slice(-2000));
  return { mutant, specs, caught };
});
const missed = results.filter(r => !r.caught).length;
if (json) console.log(JSON.stringify({ mutants: results, missed }));
else console.log(`${results.length - missed} passed, ${missed} failed`);
process.exitCode = missed ? 1 : 0;
