/**
 * What is registered is noticed by a suite: each -device, object type, netdev, character device,
 * block driver and option is named in a spec of its own folder. Method: the registries, and the
 * text of the specs.
 */
import { optionTable } from '../../src/commands/options/table.js';
import { deviceTypes } from '../../src/hw/device-types.js';
import { objectTypes } from '../../src/vm/objects/all.js';
import { chardevKinds } from '../../src/vm/objects/chardevs.js';
import { netdevKinds } from '../../src/vm/objects/netdevs.js';
import { filesUnder, read } from '../support/sources.js';

const blockDrivers = [
  ...new Set(
    filesUnder('src/block', '.ts').flatMap(path =>
      [...read(path).matchAll(/^ {2}readonly format = '([^']+)';$/gm)].map(([, name]) => name),
    ),
  ),
];
const text = (folder: string, but = '') =>
  filesUnder(folder, '.spec.ts')
    .filter(path => path !== but)
    .map(read)
    .join('\n');
/** Names that no spec has between quotes, commas, blanks and the like. */
const unnoticed = (
  names: readonly string[],
  specs: string,
  before = '[\'"` ]',
  after = '[\'"`, ]',
) => names.filter(name => !new RegExp(`${before}${name}${after}`).test(specs));

test('each -device has a spec in test/device besides the one for all', () => {
  const specs = text('test/device', 'test/device/all.spec.ts');
  expect(
    unnoticed(
      deviceTypes.map(({ name }) => name),
      specs,
    ),
  ).toEqual([]);
});

test('each object type, netdev and character device has a spec', () => {
  const specs = ['unit/objects', 'unit/chardev', 'unit/net', 'interop/block']
    .map(folder => text(`test/${folder}`))
    .join('\n');
  expect(
    unnoticed(
      objectTypes.map(({ name }) => name),
      specs,
    ),
  ).toEqual([]);
  expect(unnoticed([...netdevKinds, ...chardevKinds], specs)).toEqual([]);
});

test('each block driver is opened by its name in a spec of the block layer', () => {
  expect(blockDrivers.length).toBeGreaterThan(5);
  const specs = text('test/unit/block') + text('test/property');
  expect(unnoticed(blockDrivers, specs, '\\bdriver(=|"?: [\'"])', '')).toEqual([]);
});

test('each option of a VM is given in a spec of the command line', () => {
  const specs = text('test/unit/commands');
  expect(
    unnoticed(
      optionTable.map(({ name }) => name),
      specs,
      '--?',
      '[\'"`,; \n]',
    ),
  ).toEqual([]);
});
