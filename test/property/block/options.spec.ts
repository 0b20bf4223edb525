/** Goal: no option string crashes the parser: a spec or a VmError. Method: random text, and random mixes of the words it knows. */
import fc from 'fast-check';
import { VmError } from '../../../src/base/errors.js';
import { parseDrive } from '../../../src/block/options.js';

const words = ['driver', 'format', 'file', 'backing', 'children', '0', '1', 'filename', 'node-name', 'id', 'if', 'mode', 'raw', 'quorum', 'replication', 'memory', 'nbd', 'primary', 'secondary', 'virtio', 'none', 'host', 'port', 'server', 'path', 'size', '64M', 'on', 'off', 'throttling', 'bps-total', 'read-pattern', 'fifo', 'vote-threshold', '__proto__', 'constructor', 'toString', 'cache', ''];
const mixed = fc.array(fc.tuple(fc.constantFrom(...words), fc.constantFrom('.', '=', ',', ',,', '')), { maxLength: 40 }).map(parts => parts.flat().join(''));

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
