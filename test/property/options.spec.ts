/**
 * Goal: no option string, however mangled, does anything but become a spec or a mistake that names
 * it. Method: pieces of real options glued together at random, and arbitrary text.
 */
import fc from 'fast-check';
import { HelpAsked, UsageError } from '../../src/commands/options/argv.js';
import { parseLaunch } from '../../src/commands/options/spec.js';
import { optionTable } from '../../src/commands/options/table.js';
import { parsePair } from '../../src/commands/pair/read.js';

const keys = [
  'id',
  'driver',
  'file',
  'file.filename',
  'file.driver',
  'children.0',
  'children.0.file.filename',
  'if',
  'netdev',
  'drive',
  'mac',
  'path',
  'host',
  'port',
  'server',
  'wait',
  'mode',
  'vote-threshold',
  'read-pattern',
  'backend',
  'type',
  'ifname',
  'size',
  'max-bytes',
  'cache',
  'readonly',
  '__proto__',
  'constructor',
  '',
];
const values = [
  '',
  'on',
  'off',
  '0',
  '1',
  '-1',
  '99999999999999999999',
  'tap',
  'socket',
  'quorum',
  'replication',
  'memory',
  'raw',
  'qcow2',
  'nbd',
  'none',
  'virtio',
  'primary',
  'fifo',
  'virtio-net-pci',
  'filter-buffer',
  'd0',
  'tcp:0:1',
  'unix:/x',
  'stdio',
  'null',
  'file:/x',
  '../..',
  'é',
  '%s',
  '\u0000',
];
const item = fc.oneof(
  fc.tuple(fc.constantFrom(...keys), fc.constantFrom(...values)).map(pair => pair.join('=')),
  fc.constantFrom(...keys, ...values),
  fc.string({ maxLength: 12 }),
);
const value = fc.oneof(
  { weight: 5, arbitrary: fc.array(item, { maxLength: 6 }).map(items => items.join(',')) },
  { weight: 1, arbitrary: fc.string({ maxLength: 40 }) },
);
// -trace events=FILE reads what it names.
const names = optionTable.map(option => option.name).filter(name => name !== 'trace');
const takesValue = (name: string) =>
  optionTable.some(option => option.name === name && 'value' in option);

test('every option string is a spec or a mistake of usage that says something', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('primary' as const, 'secondary' as const),
      fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 4 }),
      (role, given) => {
        const argv = given.flatMap(([name, text]) =>
          takesValue(name) ? [`-${name}`, text] : [`-${name}`],
        );
        try {
          parseLaunch(role, [...argv, ...(role === 'primary' ? ['-S'] : ['-incoming', 'unix:/x'])]);
        } catch (error) {
          if (error instanceof HelpAsked) return;
          expect(error).toBeInstanceOf(UsageError);
          expect((error as Error).message.length).toBeGreaterThan(5);
          // A slip of ours, dressed up as the user's.
          expect((error as Error).cause).not.toBeInstanceOf(TypeError);
        }
      },
    ),
    { numRuns: 3000 },
  );
});

test('every text is a pair definition or a mistake with a position', () => {
  const line = fc.tuple(
    fc.constantFrom('', '  ', '    ', '- ', '  - '),
    fc.constantFrom(
      'name',
      'memory',
      'kernel',
      'peer',
      'disks',
      'primary',
      'migration',
      'nbd',
      'size',
      '?',
      '<<',
      '"',
    ),
    fc.constantFrom(':', ': ', ' '),
    fc.oneof(
      fc.constantFrom(
        'web',
        '64M',
        'tcp:h:1',
        '[',
        '{a: 1}',
        '*a',
        '&a x',
        '|',
        '!!binary x',
        '!!set',
        '',
        '~',
        '1e999',
      ),
      fc.string({ maxLength: 8 }),
    ),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc
          .array(
            line.map(parts => parts.join('')),
            { maxLength: 12 },
          )
          .map(lines => lines.join('\n')),
        fc.string(),
      ),
      text => {
        try {
          parsePair(text, 'f');
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
          expect((error as Error).message).toMatch(/^f:\d+:\d+: /);
        }
      },
    ),
    { numRuns: 2000 },
  );
});
