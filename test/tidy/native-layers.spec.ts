/**
 * C++ includes run strictly downward by folder, inside native/soft as between the folders of
 * native; two folders of one layer never include each other. Method: the #include lines of every
 * source file.
 */
import { exists, filesUnder, read } from '../support/sources.js';

const layerOf: Readonly<Record<string, number>> = {
  base: 0,
  memory: 1,
  vcpu: 2,
  'soft/chips': 3,
  'soft/fpu': 3,
  'soft/cpu': 4,
  'soft/decode': 5,
  'soft/memory': 5,
  'soft/system': 5,
  'soft/execute': 6,
  'soft/blocks': 7,
  soft: 8,
  kvm: 8,
  addon: 9,
  test: 10,
};

interface Include {
  readonly from: string;
  readonly to: string;
  readonly line: number;
}

/** The deepest folder that has a layer: test/fuzz belongs to test. */
function folderOf(path: string): string {
  const parts = path.split('/').slice(0, -1);
  const known = parts.map((_, n) => parts.slice(0, n + 1).join('/')).filter(f => f in layerOf);
  return known.at(-1) ?? '';
}

const files = ['.cc', '.h']
  .flatMap(suffix => filesUnder('native', suffix))
  .map(path => path.slice('native/'.length))
  .filter(path => !/^(build|prebuilds)\//.test(path));

const lines = files.flatMap(from =>
  read(`native/${from}`)
    .split('\n')
    .map((text, n) => ({ from, text, line: n + 1 })),
);
const includes: Include[] = lines.flatMap(({ from, text, line }) => {
  const to = /^\s*#\s*include\s*"([^"]+)"/.exec(text)?.[1];
  return to === undefined ? [] : [{ from, to, line }];
});
const show = (i: Include) => `${i.from}:${i.line} -> ${i.to}`;

test('every folder of native has a layer, and native/soft holds only the run loop itself', () => {
  expect(files.filter(path => folderOf(path) === '')).toEqual([]);
  const folders = new Set(files.map(path => path.split('/').slice(0, -1).join('/')));
  expect([...folders].filter(f => !f.startsWith('test') && !(f in layerOf))).toEqual([]);
  expect(files.filter(path => /^soft\/[^/]+$/.test(path))).toEqual(['soft/run.cc', 'soft/vm.h']);
});

test('includes name a file of ours by its path from native', () => {
  expect(includes.length).toBeGreaterThan(files.length);
  expect(includes.filter(i => !exists(`native/${i.to}`)).map(show)).toEqual([]);
});

test('includes run strictly downward', () => {
  const wrong = includes.filter(({ from, to }) => {
    const [a, b] = [folderOf(from), folderOf(to)];
    return a !== b && layerOf[b] >= layerOf[a];
  });
  expect(wrong.map(show)).toEqual([]);
});

test('only addon includes napi.h', () => {
  const wrong = lines.filter(l => /#\s*include\s*<napi\.h>/.test(l.text));
  expect(wrong.length).toBeGreaterThan(0);
  expect(wrong.filter(l => folderOf(l.from) !== 'addon').map(l => l.from)).toEqual([]);
});
