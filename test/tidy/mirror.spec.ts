/**
 * Goal: the spec of a file is found without a search. test/unit/block has the folders of src/block,
 * and no spec lies beside them.
 */
import { dirname } from 'node:path';
import { filesUnder } from '../support/sources.js';

const room = 'block';

test('a spec lies in the folder of what it tests', () => {
  const folders = new Set(filesUnder(`src/${room}`, '.ts').map(dirname));
  const stray = filesUnder(`test/unit/${room}`, '.spec.ts').filter(
    path => !folders.has(dirname(path).replace('test/unit/', 'src/')),
  );
  expect(stray).toEqual([]);
});
