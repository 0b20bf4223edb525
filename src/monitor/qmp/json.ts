/**
 * JSON as QMP speaks it: RFC 8259, plus strings in single quotes. Integers that a double cannot
 * hold stay exact (bigint), so that an `id` comes back as it was sent. Objects have no prototype: a
 * member named `__proto__` is a member.
 */
import { VmError } from '../../base/errors.js';
import { MAX_DEPTH } from './framer.js';

export type Json = null | boolean | number | bigint | string | Json[] | { [member: string]: Json };

const broken = (what: string) => new VmError(`JSON parse error, ${what}`);
const numberText = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const wordText = /[^\s{}[\]:,"']+/y;
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "'": "'",
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
const words: Readonly<Record<string, Json>> = { null: null, true: true, false: false };

/** One whole text, as a VmError says otherwise. */
export function parseJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw broken('invalid UTF-8 sequence in string');
  }
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  value(depth: number): Json {
    if (depth > MAX_DEPTH) throw new VmError('JSON nesting depth limit exceeded');
    const c = this.peek();
    if (c === '{') return this.object(depth);
    if (c === '[') return this.array(depth);
    if (c === '"' || c === "'") return this.string(c);
    if (c === '') throw broken('premature EOI');
    if ('}],:'.includes(c)) throw broken('expecting value');
    return this.scalar();
  }

  end(): void {
    if (this.peek() !== '') throw broken('text after the value');
  }

  /** The next character that is not white space, or '' at the end. */
  private peek(): string {
    while (' \t\r\n'.includes(this.text[this.at] ?? 'x')) this.at++;
    return this.text[this.at] ?? '';
  }

  private object(depth: number): Json {
    this.at++;
    const out = Object.create(null) as { [member: string]: Json };
    if (this.closed('}')) return out;
    for (;;) {
      const quote = this.peek();
      if (quote !== '"' && quote !== "'")
        throw broken(quote === '}' ? 'expecting value' : 'key is not a string in object');
      const key = this.string(quote);
      if (this.peek() !== ':') throw broken('missing : in object pair');
      this.at++;
      if (key in out) throw broken('duplicate key');
      out[key] = this.value(depth + 1);
      if (this.closed('}')) return out;
      if (this.peek() !== ',') throw broken('expected separator in dict');
      this.at++;
    }
  }

  private array(depth: number): Json {
    this.at++;
    const out: Json[] = [];
    if (this.closed(']')) return out;
    for (;;) {
      out.push(this.value(depth + 1));
      if (this.closed(']')) return out;
      if (this.peek() !== ',') throw broken('expected separator in list');
      this.at++;
    }
  }

  private closed(bracket: string): boolean {
    if (this.peek() !== bracket) return false;
    this.at++;
    return true;
  }

  private string(quote: string): string {
    let out = '';
    let from = ++this.at;
    for (;;) {
      const c = this.text[this.at];
      if (c === undefined) throw broken('premature EOI');
      if (c < ' ') throw broken('control character in string');
      if (c !== quote && c !== '\\') {
        this.at++;
        continue;
      }
      out += this.text.slice(from, this.at);
      this.at++;
      if (c === quote) return out;
      out += this.escape();
      from = this.at;
    }
  }

  private escape(): string {
    const c = this.text[this.at++] ?? '';
    if (Object.hasOwn(escapes, c)) return escapes[c];
    if (c !== 'u') throw broken('invalid escape sequence in string');
    const high = this.hex4();
    if (high < 0xd800 || high > 0xdfff) return String.fromCharCode(high);
    const paired = high < 0xdc00 && this.text.startsWith('\\u', this.at);
    if (paired) this.at += 2;
    const low = paired ? this.hex4() : 0;
    if (low < 0xdc00 || low > 0xdfff)
      throw broken(`\\u${high.toString(16)} is not a valid Unicode character`);
    return String.fromCharCode(high, low);
  }

  private hex4(): number {
    const digits = this.text.slice(this.at, this.at + 4);
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw broken('invalid escape sequence in string');
    this.at += 4;
    return parseInt(digits, 16);
  }

  private scalar(): Json {
    wordText.lastIndex = this.at;
    const word = wordText.exec(this.text)?.[0] ?? this.text[this.at];
    numberText.lastIndex = this.at;
    const number = numberText.exec(this.text)?.[0];
    this.at += word.length;
    if (number === word) {
      const value = Number(word);
      if (!Number.isFinite(value)) throw broken(`number ${word.slice(0, 40)} is too large`);
      return /^-?[0-9]+$/.test(word) && !Number.isSafeInteger(value) ? BigInt(word) : value;
    }
    if (Object.hasOwn(words, word)) return words[word];
    throw broken(`invalid keyword '${word.slice(0, 40)}'`);
  }
}

/** Compact text; members whose value is undefined are left out. */
export function printJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString();
  if (Array.isArray(value)) return `[${value.map(item => printJson(item ?? null)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    const pairs = members.map(([name, member]) => `${JSON.stringify(name)}: ${printJson(member)}`);
    return `{${pairs.join(', ')}}`;
  }
  return JSON.stringify(value ?? null);
}
