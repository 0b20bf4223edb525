/** The record of an arbiter: there and back, and what is refused. Method: lines, edited by hand. */
import { createHash } from 'node:crypto';
import { requireVm } from '../../../src/arbiter/contract.js';
import { decodeRecord, encodeRecord, sameRecord } from '../../../src/arbiter/record.js';
import { arbiterRecord } from '../../support/arbiter-contract.js';

const whole = arbiterRecord({ term: 3, replica: 'beta', inStep: true });
const fields = JSON.parse(encodeRecord(whole).toString()) as Record<string, unknown>;
/** As a program would write it that knows the checksum but not the rules. */
function line(change: Record<string, unknown>): Buffer {
  const { checksum: _, ...body } = { ...fields, ...change };
  const checksum = createHash('sha256').update(JSON.stringify(body)).digest('hex').slice(0, 32);
  return Buffer.from(JSON.stringify({ ...body, checksum }));
}

test('there and back, with and without a replica', () => {
  for (const record of [whole, arbiterRecord()]) {
    expect(decodeRecord(encodeRecord(record))).toEqual(record);
    expect(sameRecord(decodeRecord(encodeRecord(record)), record)).toBe(true);
  }
  expect(sameRecord(whole, { ...whole, owner: 'gamma' })).toBe(false);
});

test('one line, in the order that the README says', () => {
  const text = encodeRecord(whole).toString();
  expect(text).toMatch(/^\{"magic":"colo-arbiter","version":1,"vm":.*\}\n$/);
  expect(Object.keys(fields)).toEqual(
    'magic version vm term branch owner replica inStep checksum'.split(' '),
  );
});

test.each([
  ['it is none of colo', Buffer.from('')],
  ['it is none of colo', Buffer.from('[1]')],
  ['it is none of colo', Buffer.from('{"magic":"colo-pair","version":1}')],
  ['it is none of colo', Buffer.alloc(5000, 32)],
  ['it has version 2, this colo knows 1', line({ version: 2 })],
  ['its vm is not one', line({ vm: 'web' })],
  ['its term is not one', line({ term: 0 })],
  ['its term is not one', line({ term: 1.5 })],
  ['its branch is not one', line({ branch: 'x' })],
  ['its owner is not one', line({ owner: 'a b' })],
  ['its replica is not one', line({ replica: 7 })],
  ['its inStep is not one', line({ inStep: 'yes' })],
  ["its owner and its replica are both 'alpha'", line({ replica: 'alpha' })],
  ['it calls a replica in step and names none', line({ replica: null })],
  [
    'its checksum is wrong: it was changed by hand, or is damaged',
    Buffer.from(encodeRecord(whole).toString().replace('"term":3', '"term":4')),
  ],
])('refused: %s', (why, bytes) => {
  expect(() => decodeRecord(bytes)).toThrow(why);
});

test('the record of another VM is refused by its name', () => {
  const held = { record: whole, version: '1' };
  expect(requireVm(held, whole.vm, 'file:/x')).toBe(held);
  expect(() => requireVm(held, '00000000-0000-4000-a000-000000000000', 'file:/x')).toThrow(
    /the arbiter 'file:\/x' holds the record of another VM \(6f0c1a52-/,
  );
});
