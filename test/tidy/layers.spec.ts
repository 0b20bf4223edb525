/**
 * Imports run strictly downward by layer and by floor inside a room, two folders of one layer or
 * floor never import each other, nothing runs in circles, and no file is there that nobody reaches.
 * Method: own resolver over the import statements of src.
 */
import { exists, filesUnder, importsOf } from '../support/sources.js';

const layerOf: Readonly<Record<string, number>> = {
  base: 0,
  fields: 0,
  qapi: 1,
  host: 1,
  words: 1,
  accel: 2,
  arbiter: 2,
  chardev: 2,
  memory: 2,
  block: 3,
  net: 3,
  hw: 4,
  migration: 4,
  colo: 5,
  vnc: 5,
  machine: 6,
  vm: 7,
  monitor: 8,
  commands: 9,
};
/** Floors inside a room, by folder; a room without an entry has none. */
const floorsOf: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  block: {
    record: 0,
    contract: 1,
    bitmaps: 2,
    options: 2,
    backend: 3,
    nbd: 4,
    drivers: 5,
    graph: 6,
    image: 7,
    jobs: 8,
    tools: 9,
    layer: 10,
  },
};
/** The one step between folders of one layer: fields reports its errors with base's class. */
const allowed = new Set(['fields -> base', 'host -> qapi']);
/** Nothing imports them: oclif and bin/ load them by name. */
const entries = [
  'src/commands/ocf/main.ts', // packaging/ocf/vm
  'src/host/node/start.ts',
  'src/commands/index.ts',
  'src/commands/help.ts',
  'src/commands/quick.ts',
  'src/commands/quick-vm.ts',
];

const files = filesUnder('src', '.ts');
const folderOf = (path: string) => path.split('/')[1];
/** '' for a file that lies in the room itself. */
const floorOf = (path: string) => path.split('/').slice(2, -1)[0] ?? '';
const imports = files.flatMap(importsOf);

test('every folder of src has a layer', () => {
  expect(files.map(folderOf).filter(folder => layerOf[folder] === undefined)).toEqual([]);
});

test('relative imports lead to files', () => {
  expect(
    imports
      .filter(i => i.specifier.startsWith('.') && i.to === undefined)
      .map(i => `${i.from}:${i.line} ${i.specifier}`),
  ).toEqual([]);
});

test('imports run strictly downward', () => {
  const wrong = imports.filter(({ from, to }) => {
    if (to === undefined) return false;
    const [a, b] = [folderOf(from), folderOf(to)];
    return a !== b && layerOf[b] >= layerOf[a] && !allowed.has(`${a} -> ${b}`);
  });
  expect(wrong.map(i => `${i.from}:${i.line} -> ${i.to}`)).toEqual([]);
});

describe.each(Object.entries(floorsOf))('the floors of %s', (room, floors) => {
  test('every file is on a floor, and every floor is used', () => {
    const used = files.filter(file => folderOf(file) === room).map(floorOf);
    expect([...new Set(used)].sort()).toEqual(Object.keys(floors).sort());
  });

  test('imports run strictly downward', () => {
    const wrong = imports.filter(({ from, to }) => {
      if (to === undefined || folderOf(from) !== room || folderOf(to) !== room) return false;
      const [a, b] = [floorOf(from), floorOf(to)];
      return a !== b && !(floors[b] < floors[a]);
    });
    expect(wrong.map(i => `${i.from}:${i.line} -> ${i.to}`)).toEqual([]);
  });
});

test('only host/node and accel load the addon', () => {
  const wrong = imports.filter(
    i => /node-gyp-build|\.node$/.test(i.specifier) && !/^src\/(host\/node|accel)\//.test(i.from),
  );
  expect(wrong.map(i => `${i.from}:${i.line}`)).toEqual([]);
});

test('no import cycles', () => {
  const next = new Map(
    files.map(file => [
      file,
      importsOf(file).flatMap(i => (i.to?.startsWith('src/') ? [i.to] : [])),
    ]),
  );
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, trail: string[]): void => {
    const at = trail.indexOf(file);
    if (at >= 0) return void cycles.push([...trail.slice(at), file].join(' -> '));
    if (done.has(file)) return;
    for (const to of next.get(file) ?? []) visit(to, [...trail, file]);
    done.add(file);
  };
  for (const file of files) visit(file, []);
  expect(cycles).toEqual([]);
});

test('no orphan files', () => {
  const reached = new Set<string>();
  const visit = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    for (const { to } of importsOf(file)) if (to?.startsWith('src/')) visit(to);
  };
  for (const entry of entries) if (exists(entry)) visit(entry);
  expect(files.filter(file => !reached.has(file))).toEqual([]);
});
