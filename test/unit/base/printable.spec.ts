/**
 * Text of strangers cannot steer a terminal. Method: every control character, and what looks like
 * text and is none.
 */
import { expect, test } from '@jest/globals';
import { printable } from '../../../src/base/printable.js';

test('ordinary text of any language stays as it is', () => {
  for (const text of [
    '',
    'disk is full',
    'Größe: 5 €',
    '接続が切れました',
    '🙂',
    'it\'s "quoted" \\ back',
  ])
    expect(printable(text)).toBe(text);
});

test('every control character becomes visible, and nothing else of the line changes', () => {
  for (let code = 0; code < 0xa0; code++) {
    const shown = printable(`a${String.fromCharCode(code)}b`);
    if (code >= 0x20 && code < 0x7f) expect(shown).toBe(`a${String.fromCharCode(code)}b`);
    else expect(shown).toBe(`a\\x${code.toString(16).padStart(2, '0')}b`);
  }
});

test.each([
  ['\x1b]0;owned\x07', '\\x1b]0;owned\\x07'],
  ['one\r\ntwo', 'one\\x0d\\x0atwo'],
  ['abc\u202edcba', 'abc\\u202edcba'],
  ['line\u2028end', 'line\\u2028end'],
  ['half \ud83d of a pair', 'half \\ud83d of a pair'],
])('%j', (text, shown) => expect(printable(text)).toBe(shown));

test('its length has a bound, and the end is marked', () => {
  expect(printable('x'.repeat(50), 50)).toBe('x'.repeat(50));
  expect(printable('x'.repeat(51), 50)).toBe(`${'x'.repeat(47)}...`);
  expect(printable('\x1b'.repeat(1e6), 50).length).toBeLessThanOrEqual(50);
  expect(printable('🙂'.repeat(30), 20)).toBe(`${'🙂'.repeat(8)}...`);
});
