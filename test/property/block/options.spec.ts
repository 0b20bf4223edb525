/**
 * Goal: no option string crashes the parser: a spec or a VmError. Method: random text, and random
 * mixes of the words it knows.
 */
import fc from 'fast-check';
import { parseLaunch } from '../../../src/commands/options/spec.js';
import { VmError } from '../../../src/base/errors.js';
import { parseDrive } from '../../../src/block/options/options.js';

const words = [
  'driver',
  'format',
  'file',
  'backing',
  'children',
  '0',
  '1',
  'filename',
  'node-name',
  'id',
  'if',
  'mode',
  'raw',
  'quorum',
  'replication',
  'memory',
  'nbd',
  'primary',
  'secondary',
  'virtio',
  'none',
  'host',
  'port',
  'server',
  'path',
  'size',
  '64M',
  'on',
  'off',
  'throttling',
  'bps-total',
  'read-pattern',
  'fifo',
  'vote-threshold',
  '__proto__',
  'constructor',
  'toString',
  'cache',
  '',
];
const mixed = fc
  .array(fc.tuple(fc.constantFrom(...words), fc.constantFrom('.', '=', ',', ',,', '')), {
    maxLength: 40,
  })
  .map(parts => parts.flat().join(''));

test.each([
  ['any text', fc.string({ unit: 'binary', maxLength: 200 })],
  ['known words, mixed', mixed],
])('%s', (_name, arbitrary) => {
  fc.assert(
    fc.property(arbitrary, text => {
      try {
        expect(parseDrive(text).root).toBeDefined();
      } catch (error) {
        if (!(error instanceof VmError)) throw error;
        expect(error.message).not.toBe('');
      }
    }),
    { numRuns: 2000 },
  );
});

test('-blockdev: any JSON is a node or a VmError', () => {
  const word = fc.oneof(
    fc.constantFrom(
      'raw',
      'qcow2',
      'file',
      'quorum',
      'replication',
      'memory',
      'blkdebug',
      'nbd',
      'primary',
      'on',
      '',
      'n0',
      '1',
    ),
    fc.string({ maxLength: 6 }),
  );
  const key = fc.oneof(
    fc.constantFrom(
      'driver',
      'node-name',
      'file',
      'backing',
      'children',
      'image',
      'filename',
      'mode',
      'vote-threshold',
      'cache',
      'direct',
      'no-flush',
      'discard',
      'read-only',
      '0',
      '__proto__',
      'size',
    ),
    fc.string({ maxLength: 4 }),
  );
  const { tree } = fc.letrec(tie => ({
    tree: fc.dictionary(key, tie('value'), { maxKeys: 6 }),
    value: fc.oneof(
      { maxDepth: 4 },
      word,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 3 }),
      tie('tree'),
    ),
  }));
  fc.assert(
    fc.property(tree, options => {
      const text = JSON.stringify({ driver: 'raw', 'node-name': 'n', ...(options as object) });
      try {
        const { blockdevs, disks } = parseLaunch('primary', ['-S', '-blockdev', text]).spec;
        expect(disks.nodes.map(node => node.nodeName)).toEqual(
          blockdevs.map(blockdev => blockdev.nodeName),
        );
      } catch (error) {
        expect(error).toBeInstanceOf(VmError);
      }
    }),
    { numRuns: 1000 },
  );
});
