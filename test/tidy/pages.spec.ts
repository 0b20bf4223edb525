/**
 * Goal: what README.md, ARCHITECTURE.md and HACKING.md name is there, and the house of
 * ARCHITECTURE names every room. Method: npm scripts and paths are taken out of their text; the
 * house is compared with the folders.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { read, root } from '../support/sources.js';

const pages = ['README.md', 'ARCHITECTURE.md', 'HACKING.md'];
const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

const matches = (page: string, pattern: RegExp): string[] => [
  ...new Set([...read(page).matchAll(pattern)].map(match => match[1])),
];
const foldersOf = (folder: string): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true })
    .filter(
      entry => entry.isDirectory() && !['build', 'prebuilds', 'fixtures'].includes(entry.name),
    )
    .map(entry => entry.name)
    .sort();
const there = (path: string): boolean => existsSync(join(root, path));

test.each(pages)('%s: every npm script is one of package.json', page => {
  const named = matches(page, /npm run (?:--silent )?([a-z][\w:-]*)/g);
  expect(named.filter(name => scripts[name] === undefined)).toEqual([]);
});

test.each(pages)('%s: every path is there', page => {
  const paths = matches(page, /(?<![\w./-])((?:src|test|native|bin|man|\.ci)\/[\w./-]*[\w/])/g);
  expect(paths.filter(path => !there(path))).toEqual([]);
});

test.each(pages)('%s: every file named by its room is there', page => {
  const rooms = foldersOf('src');
  const named = matches(page, /`([a-z]+(?:\/[\w.-]+)+)`/g).filter(path =>
    rooms.includes(path.split('/')[0]),
  );
  const found = (path: string) =>
    [`src/${path}`, `src/${path}.ts`, path].some(candidate => there(candidate));
  expect(named.filter(path => !found(path))).toEqual([]);
});

/** The block under "The house", without what a line says of a folder. */
const house = /^## The house$[^`]*`test\/tidy`[^`]*```\n([^`]+)/m.exec(
  read('ARCHITECTURE.md').replaceAll(/`vm`|`host`/g, ''),
)?.[1];
const linesOf = (top: string): string[] => {
  const lines = (house ?? '').split('\n');
  const from = lines.findIndex(line => line.startsWith(`${top}/`));
  const length = lines.slice(from + 1).findIndex(line => /^\S/.test(line));
  return lines.slice(from, length < 0 ? undefined : from + 1 + length);
};

test.each(['src', 'native'])('the house names each folder of %s', top => {
  const named = linesOf(top)
    .slice(1)
    .flatMap(line => /^ {2}((?:\w+\/ ?)+)/.exec(line)?.[1].trim().split(/\/ ?/) ?? [])
    .filter(name => name !== '');
  expect(named.sort()).toEqual(foldersOf(top).filter(name => name !== 'test'));
});

test('the house names each folder of test', () => {
  const words = linesOf('test')
    .join(' ')
    .slice('test/'.length)
    .split(/[\s,]+/);
  expect(words.filter(word => word !== '').sort()).toEqual(foldersOf('test'));
});
