/**
 * `npm run fuzz -- --minutes N [--target NAME] [--seed S]`: every target for its share of the time, from a seed that is printed. --case S
 * runs that one case of --target and shows the whole error.
 */
import { parseArgs } from 'node:util';
import { Random } from '../support/random.js';
import { fuzz } from './loop.js';
import { fuzzTargets } from './targets.js';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '1' }, target: { type: 'string' }, seed: { type: 'string' }, case: { type: 'string' } } });
const number = (word: string, option: string): number => {
  const value = Number(word);
  if (word.trim() === '' || !(value >= 0)) usage(`--${option} ${word} is not a number`);
  return value;
};
function usage(message: string): never {
  console.error(message);
  process.exit(2);
}

const targets = values.target === undefined ? fuzzTargets : fuzzTargets.filter(t => t.name === values.target);
if (targets.length === 0) usage(`there is no target '${values.target}'; there are: ${fuzzTargets.map(t => t.name).join(', ')}`);

if (values.case !== undefined) {
  if (targets.length > 1) usage('--case needs --target');
  await targets[0].run(new Random(number(values.case, 'case')));
  console.log(`${targets[0].name}: case ${values.case} passed`);
} else {
  const seed = values.seed === undefined ? Math.floor(Date.now() / 1000) : number(values.seed, 'seed');
  const ms = (number(values.minutes, 'minutes') * 60_000) / targets.length;
  console.log(`seed ${seed}, ${targets.length} targets, ${(ms / 1000).toFixed(0)} s each`);
  for (const target of targets) {
    const { cases, failure } = await fuzz(target, seed, ms);
    console.log(`${target.name}: ${cases} cases, ${failure ? `FAILED: --target ${target.name} --case ${failure.seed}` : 'none failed'}`);
    if (!failure) continue;
    console.error(failure.error);
    process.exitCode = 1;
  }
}
