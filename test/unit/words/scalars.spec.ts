/**
 * Goal: a word means the same wherever it stands. Method: tables for the readers, and one word
 * given in each form that takes it.
 */
import { parseCpu } from '../../../src/commands/options/cpu.js';
import { isaDebugExit } from '../../../src/hw/isa/debug-exit.js';
import { fromWords } from '../../../src/words/from-words.js';
import { KeyValues, parseItems, parseKeyValues } from '../../../src/words/key-values.js';
import { nothing } from '../../../src/words/nothing.js';
import { integerOf, parseSize, portOf, splitHostPort } from '../../../src/words/scalars.js';
import { bool, oneOf } from '../../../src/words/types.js';

const switches: readonly [string, boolean][] = [
  ...['on', 'yes', 'true', 'y'].map((word): [string, boolean] => [word, true]),
  ...['off', 'no', 'false', 'n'].map((word): [string, boolean] => [word, false]),
];

test.each(switches)('%s is a switch in every form', (word, on) => {
  const items = parseKeyValues(`x=${word}`);
  expect(new KeyValues(items).takeBool('x')).toBe(on);
  expect(fromWords({ x: bool() }, items)).toEqual({ x: on });
  expect(fromWords({ x: oneOf(['on', 'off']) }, items)).toEqual({ x: on ? 'on' : 'off' });
  expect(parseCpu(`max,aes=${word}`).flags).toEqual([{ name: 'aes', on }]);
  const only = { x: nothing([on ? 'on' : 'off'], 'Leave it out.') };
  expect(() => fromWords(only, items)).not.toThrow();
  expect(() => fromWords({ x: nothing([on ? 'off' : 'on'], '') }, items)).toThrow(
    `x=${word}: only`,
  );
});

test('sizes', () => {
  const sizes = ['0', '512', '1.5k', '0x10', '2M', '3g', '1T', '1P', '2E'].map(text =>
    parseSize(text),
  );
  expect(sizes.slice(0, 8)).toEqual([
    ...[0, 512, 1536, 16],
    ...[2 * 2 ** 20, 3 * 2 ** 30, 2 ** 40, 2 ** 50],
  ]);
  expect(sizes[8]).toBeUndefined(); // more than a number holds
  expect(parseSize('64', 'M')).toBe(2 ** 26);
  for (const text of ['', '-1', '1.', 'k', '1kB', '1 k']) expect(parseSize(text)).toBeUndefined();
});

test('numbers, ports and hosts', () => {
  expect(['7', '-7', '0x1f', '-0x1f', '1e3', '', '+1'].map(integerOf)).toEqual([
    ...[7, -7, 31, -31],
    ...[undefined, undefined, undefined],
  ]);
  expect(['0', '65535', '65536', 'x', ''].map(portOf)).toEqual([
    ...[0, 65_535],
    ...[undefined, undefined, undefined],
  ]);
  expect(splitHostPort('h:1')).toEqual({ host: 'h', port: '1' });
  expect(splitHostPort('[::1]:1')).toEqual({ host: '::1', port: '1' });
  expect(splitHostPort(':1')).toEqual({ host: '', port: '1' });
  for (const text of ['h', '::1:1', 'h:', '[::1]', 'a:b:1'])
    expect([text, splitHostPort(text)]).toEqual([text, undefined]);
});

test('JSON says what its text says', () => {
  expect(parseItems('{"driver": "d", "a": true, "b": false, "c": 512, "e": "x,y"}')).toEqual(
    parseItems('d,a=on,b=off,c=512,e=x,,y', 'driver'),
  );
  const { properties } = isaDebugExit;
  expect(fromWords(properties, parseItems('iobase=0xf4,iosize=0x04'))).toEqual({
    iobase: 0xf4,
    iosize: 4,
  });
});
