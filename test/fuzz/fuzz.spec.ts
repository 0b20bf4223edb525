/**
 * Goal: untrusted bytes end in a sentence, and harm nothing. Method: each target's corpus, then new
 * seeds for a few seconds; a failure names its seed, and `npm run fuzz -- --target NAME --case
 * SEED` shows it alone.
 */
import { fuzz } from './loop.js';
import { fuzzTargets } from './targets.js';

const seed =
  process.env['FUZZ_SEED'] === undefined
    ? Math.floor(Date.now() / 1000)
    : Number(process.env['FUZZ_SEED']);
const msEach = 3000;

test('every target has a name of its own', () => {
  expect(new Set(fuzzTargets.map(t => t.name)).size).toBe(fuzzTargets.length);
});

for (const target of fuzzTargets) {
  test(`${target.name}: ${target.summary}`, async () => {
    const { failure } = await fuzz(target, seed, msEach);
    if (failure) throw new Error(`case ${failure.seed} failed`, { cause: failure.error });
  });
}
