/**
 * The manual says what the program does: each generated page is what `npm run man` would write,
 * package.json installs every page, and groff has nothing to complain of. Method: the generator
 * itself; groff skipped by name where it is not installed.
 */
import { spawnSync } from 'node:child_process';
import { pages } from '../../man/pages.js';
import { exists, filesUnder, read, root } from '../support/sources.js';

const generated = pages();
const isPage = (path: string) => /^man\/[^/]+\.[1-9]$/.test(path);

test('no page has drifted: npm run man', () => {
  const wrong = generated.filter(
    page => !exists(`man/${page.file}`) || read(`man/${page.file}`) !== page.text,
  );
  expect(wrong.map(page => page.file)).toEqual([]);
});

test('no page is left of what is gone, and all are installed', () => {
  const there = filesUnder('man', '').filter(isPage).sort();
  expect(there).toEqual([...generated.map(page => `man/${page.file}`), 'man/colo.7'].sort());
  expect([...(JSON.parse(read('package.json')) as { man: string[] }).man].sort()).toEqual(there);
});

const groff = spawnSync('groff', ['--version']).status === 0 ? test : test.skip;
groff('every page renders without a warning (skipped where groff is not installed)', () => {
  for (const path of filesUnder('man', '').filter(isPage)) {
    const { stderr, status } = spawnSync('groff', ['-ww', '-man', '-Tutf8', '-P-c', path], {
      cwd: root,
      encoding: 'utf8',
    });
    expect([path, stderr, status]).toEqual([path, '', 0]);
  }
});

const man = spawnSync('man', ['--version']).status === 0 ? test : test.skip;
man('man itself shows every page without a warning (skipped where man is not installed)', () => {
  for (const path of filesUnder('man', '').filter(isPage)) {
    const { stdout, stderr, status } = spawnSync(
      'man',
      ['-l', '--warnings', '-E', 'UTF-8', '-P', 'cat', path],
      { cwd: root, encoding: 'utf8', env: { ...process.env, MANWIDTH: '100' } },
    );
    expect([path, stderr, status, stdout.length > 200]).toEqual([path, '', 0, true]);
  }
});
