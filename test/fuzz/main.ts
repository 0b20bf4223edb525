/**
 * `npm run fuzz -- --minutes N [--target NAME] [--seed S]`: every target for its share of the time,
 * from a seed that is printed. --case S runs that one case of --target and shows the whole error.
 */
import { parseArgs } from 'node:util';
import { Random } from '../support/random.js';
import { fuzz } from './loop.js';
import { fuzzNative, nativeTargets, runNativeCase } from './native.js';
import { fuzzTargets } from './targets.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    target: { type: 'string' },
    seed: { type: 'string' },
    case: { type: 'string' },
  },
});
const number = (word: string, option: string): number => {
  const value = Number(word);
  if (word.trim() === '' || !(value >= 0)) usage(`--${option} ${word} is not a number`);
  return value;
};
function usage(message: string): never {
  console.error(message);
  process.exit(2);
}

const wanted = (name: string) => values.target === undefined || values.target === name;
const targets = fuzzTargets.filter(t => wanted(t.name));
const natives = nativeTargets.filter(wanted);
const count = targets.length + natives.length;
if (count === 0) {
  const known = [...fuzzTargets.map(t => t.name), ...nativeTargets];
  usage(`there is no target '${values.target}'; there are: ${known.join(', ')}`);
}

if (values.case !== undefined) {
  if (count > 1) usage('--case needs --target');
  const seed = number(values.case, 'case');
  if (natives.length > 0) process.exit(runNativeCase(natives[0], seed) ? 0 : 1);
  await targets[0].run(new Random(seed));
  console.log(`${targets[0].name}: case ${values.case} passed`);
} else {
  const seed =
    values.seed === undefined ? Math.floor(Date.now() / 1000) : number(values.seed, 'seed');
  const ms = (number(values.minutes, 'minutes') * 60_000) / count;
  console.log(`seed ${seed}, ${count} targets, ${(ms / 1000).toFixed(0)} s each`);
  for (const target of targets) {
    const { cases, failure } = await fuzz(target, seed, ms);
    console.log(
      `${target.name}: ${cases} cases, ` +
        `${failure ? `FAILED: --target ${target.name} --case ${failure.seed}` : 'none failed'}`,
    );
    if (!failure) continue;
    console.error(failure.error);
    process.exitCode = 1;
  }
  if (natives.length > 0 && !fuzzNative(natives, seed, ms)) process.exitCode = 1;
}
