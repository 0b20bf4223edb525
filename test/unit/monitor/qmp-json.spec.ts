/**
 * Goal: QMP's JSON comes out the same however the bytes were cut, as RFC 8259 and QEMU's single
 * quotes want it, and nothing that a client sends makes it grow or throw anything but a VmError.
 * Method: fast-check against JSON.parse, and the known awkward cases by hand.
 */
import fc from 'fast-check';
import { VmError } from '../../../src/base/errors.js';
import {
  type Frame,
  JsonFramer,
  MAX_DEPTH,
  MAX_TEXT_BYTES,
} from '../../../src/monitor/qmp/framer.js';
import { parseJson, printJson } from '../../../src/monitor/qmp/json.js';

function frames(chunks: Uint8Array[]): Frame[] {
  const framer = new JsonFramer();
  const out: Frame[] = [];
  for (const chunk of chunks) {
    framer.push(chunk);
    for (let frame = framer.next(); frame; frame = framer.next()) out.push(frame);
  }
  const last = framer.finish();
  return last ? [...out, last] : out;
}

function cut(bytes: Uint8Array, at: number[]): Uint8Array[] {
  const cuts = [...new Set([0, ...at.map(n => n % (bytes.length + 1)), bytes.length])].sort(
    (a, b) => a - b,
  );
  return cuts.slice(1).map((end, i) => bytes.subarray(cuts[i], end));
}

const texts = (list: Frame[]) =>
  list.map(f => ('text' in f ? f.text.toString('latin1') : `error: ${f.error}`));
const plain = (value: unknown): unknown => JSON.parse(printJson(value)) as unknown;

test('objects one after the other, in pieces of any size', () => {
  const values = fc.array(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(
      values,
      fc.array(fc.nat()),
      fc.constantFrom('', '\n', ' \r\n\t'),
      (objects, cuts, gap) => {
        const wire = Buffer.from(objects.map(o => JSON.stringify(o)).join(gap));
        const got = frames(cut(wire, cuts)).map(f =>
          'text' in f ? plain(parseJson(f.text)) : f.error,
        );
        expect(got).toEqual(objects.map(plain));
      },
    ),
  );
});

test('the same frames for any cut of any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.array(fc.nat()), (bytes, cuts) => {
      expect(texts(frames(cut(bytes, cuts)))).toEqual(texts(frames([bytes])));
    }),
  );
  const soup = fc.array(
    fc.constantFrom('{', '}', '[', ']', '"', "'", '\\', ':', ',', 'a', '1', ' ', '\n', 'ÿ'),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(soup, fc.array(fc.nat()), (words, cuts) => {
      const bytes = Buffer.from(words.join(''), 'latin1');
      expect(texts(frames(cut(bytes, cuts)))).toEqual(texts(frames([bytes])));
    }),
  );
});

test('whatever is framed, parsing gives a value or a VmError', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), text => {
      try {
        parseJson(Buffer.from(text));
      } catch (error) {
        expect(error).toBeInstanceOf(VmError);
      }
    }),
  );
});

test('agrees with JSON.parse on what both accept', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), text =>
      expect(plain(parseJson(Buffer.from(text)))).toEqual(plain(JSON.parse(text))),
    ),
  );
});

test('single quotes', () => {
  expect(
    plain(parseJson(Buffer.from(`{ 'execute': 'x "y"', "a": 'it\\'s', 'b': ["'", '"'] }`))),
  ).toEqual({ execute: 'x "y"', a: "it's", b: ["'", '"'] });
});

test.each([
  ['{"execute" "stop"}', 'missing : in object pair'],
  ['{"a":1]', 'expected separator in dict'],
  [']', 'expecting value'],
  ['abc', "invalid keyword 'abc'"],
  ['{"a":1,"a":2}', 'duplicate key'],
  ['"\\q"', 'invalid escape sequence in string'],
  ['"\\ud800"', '\\ud800 is not a valid Unicode character'],
  ['{"a":1,}', 'expecting value'],
  ['{"a":01}', "invalid keyword '01'"],
  ['1e999', 'number 1e999 is too large'],
])('%s: JSON parse error, %s', (text, why) => {
  expect(() => parseJson(Buffer.from(text))).toThrow(`JSON parse error, ${why}`);
});

test('invalid UTF-8 is an error of its own', () => {
  expect(() => parseJson(Buffer.from([0x22, 0xc3, 0x28, 0x22]))).toThrow('invalid UTF-8');
});

test('integers beyond 53 bits come back as they were', () => {
  expect(printJson(parseJson(Buffer.from('[9007199254740993, -18446744073709551615]')))).toBe(
    '[9007199254740993, -18446744073709551615]',
  );
});

test('a member named __proto__ is a member', () => {
  const value = parseJson(Buffer.from('{"__proto__": {"x": 1}}')) as Record<string, unknown>;
  expect(Object.keys(value)).toEqual(['__proto__']);
  expect('x' in value).toBe(false);
});

test('depth is bounded: one error, and the next value is read', () => {
  const deep = `${'['.repeat(MAX_DEPTH + 1)}${']'.repeat(MAX_DEPTH + 1)} {"a":1}`;
  expect(texts(frames([Buffer.from(deep)]))).toEqual([
    'error: JSON nesting depth limit exceeded',
    '{"a":1}',
  ]);
});

test('size is bounded: one error, nothing kept, and the next value is read', () => {
  const framer = new JsonFramer();
  framer.push(Buffer.from('{"a":"'));
  expect(framer.next()).toBeUndefined();
  const chunk = Buffer.alloc(64 << 10, 'x');
  for (let sent = 0; sent < 3 * MAX_TEXT_BYTES; sent += chunk.length) {
    framer.push(chunk);
    expect(framer.next()).toBeUndefined();
    expect(framer.unread).toBe(0);
  }
  framer.push(Buffer.from('"}{"b":2}'));
  expect(texts([framer.next()!, framer.next()!])).toEqual([
    'error: JSON text size limit exceeded',
    '{"b":2}',
  ]);
});

test('a line end inside a string starts afresh', () => {
  expect(texts(frames([Buffer.from('{"execute":"unfinished\n{"execute":"ok"}')]))).toEqual([
    'error: JSON parse error, control character in string',
    '{"execute":"ok"}',
  ]);
});
