/**
 * Goal: a fact of an answer is declared once, and QMP and HMP show it. Method: an answer with facts
 * that are known, unknown, and without a row.
 */
import { answersOf } from '../../../src/monitor/answer.js';
import { int, optional, str } from '../../../src/words/types.js';

interface Source {
  readonly bytes: number;
  readonly why?: string;
}
const of = answersOf<Source>();
const facts = {
  bytes: of.fact(int(), s => s.bytes, 'size'),
  'has-why': of.fact(int(), s => (s.why === undefined ? 0 : 1)),
  why: of.fact(
    optional(str()),
    s => s.why,
    (why, { bytes }) => (why === '' ? undefined : `why: ${why}, at ${String(bytes)}`),
  ),
};
const answer = of.answer('Source', facts);

test('QMP gets the facts that are known', () => {
  expect(Object.entries(answer.from({ bytes: 7 }))).toEqual([
    ['bytes', 7],
    ['has-why', 0],
  ]);
  const { why, bytes } = answer.from({ bytes: 7, why: 'so' });
  expect([why, bytes]).toEqual(['so', 7]);
});

test('HMP gets the rows of those that have one', () => {
  expect(answer.show(answer.from({ bytes: 7, why: 'so' }))).toBe('size: 7\nwhy: so, at 7');
  expect(answer.show(answer.from({ bytes: 7 }))).toBe('size: 7');
  expect(answer.show(answer.from({ bytes: 7, why: '' }))).toBe('size: 7');
});

test('in another order, where it is given', () => {
  const turned = of.answer('Source', facts, ['why', 'bytes']);
  expect(turned.show(turned.from({ bytes: 7, why: 'so' }))).toBe('why: so, at 7\nsize: 7');
});

test('the schema has its types', () => {
  const types: Record<string, unknown> = {};
  const sink = {
    add: (name: string, entry: () => object) => ((types[name] = entry()), name),
    builtin: (name: string) => name,
  };
  expect(answer.type.describe(sink)).toBe('Source');
  expect(types['Source']).toEqual({
    'meta-type': 'object',
    members: [
      { name: 'bytes', type: 'int' },
      { name: 'has-why', type: 'int' },
      { name: 'why', type: 'str', default: null },
    ],
  });
});
