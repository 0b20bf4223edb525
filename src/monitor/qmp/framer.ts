/**
 * Cuts a byte stream into JSON texts as QMP's clients send them: values follow each other with or
 * without white space, strings are quoted with " or ', and a value may arrive in any number of
 * pieces. Untrusted input: size and depth are bounded, and what is too much is skipped to its end
 * and reported once. A control character inside a string, or a byte 0xff anywhere, starts afresh.
 */
export const MAX_TEXT_BYTES = 1 << 20;
export const MAX_DEPTH = 64;

export type Frame = { text: Buffer } | { error: string };

type State = 'between' | 'structure' | 'string' | 'word';

const quotes = new Set(['"', "'"].map(c => c.charCodeAt(0)));
const openers = new Set(['{', '['].map(c => c.charCodeAt(0)));
const closers = new Set(['}', ']'].map(c => c.charCodeAt(0)));
const separators = new Set([',', ':'].map(c => c.charCodeAt(0)));
const backslash = '\\'.charCodeAt(0);
const isBlank = (byte: number) => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
const endsWord = (byte: number) =>
  byte <= 0x20 ||
  quotes.has(byte) ||
  openers.has(byte) ||
  closers.has(byte) ||
  separators.has(byte);

export class JsonFramer {
  private input: Buffer = Buffer.alloc(0);
  private at = 0;
  private state: State = 'between';
  private parts: Buffer[] = [];
  private size = 0;
  private depth = 0;
  private quote = 0;
  private escaped = false;
  /** Why the rest of this value is thrown away. */
  private skipping: string | undefined;

  constructor(private readonly maxBytes = MAX_TEXT_BYTES) {}

  push(bytes: Uint8Array): void {
    const rest = this.input.subarray(this.at);
    this.input = rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([rest, bytes]);
    this.at = 0;
  }

  /** Bytes that wait for their value to be asked for. */
  get unread(): number {
    return this.input.length - this.at;
  }

  /** The next whole value, or undefined until more arrives. */
  next(): Frame | undefined {
    const from = { start: this.at };
    while (this.at < this.input.length) {
      const frame = this.step(this.input[this.at], from);
      if (frame) return frame;
    }
    this.keep(from.start, this.at);
    return undefined;
  }

  /** The input ended: a bare word is complete, anything else is cut off. */
  finish(): Frame | undefined {
    if (this.state === 'between') return undefined;
    if (this.state === 'word') return this.take(this.at, this.at);
    return this.fail('JSON parse error, premature EOI');
  }

  private step(byte: number, from: { start: number }): Frame | undefined {
    if (byte === 0xff) return this.restart(from, 'JSON parse error, stray byte 0xff');
    switch (this.state) {
      case 'between':
        return this.begin(byte, from);
      case 'word':
        if (endsWord(byte)) return this.take(from.start, this.at);
        this.at++;
        return this.checkSize(from);
      case 'string':
      case 'structure':
        return this.inside(byte, from);
    }
  }

  private begin(byte: number, from: { start: number }): Frame | undefined {
    from.start = this.at;
    this.at++;
    if (isBlank(byte)) return undefined;
    if (closers.has(byte) || separators.has(byte)) return this.take(from.start, this.at);
    if (openers.has(byte)) {
      this.state = 'structure';
      this.depth = 1;
    } else if (quotes.has(byte)) {
      this.state = 'string';
      this.quote = byte;
    } else this.state = 'word';
    return undefined;
  }

  private inside(byte: number, from: { start: number }): Frame | undefined {
    if (this.quote !== 0 && byte < 0x20)
      return this.restart(from, 'JSON parse error, control character in string');
    this.at++;
    if (this.quote !== 0) this.inString(byte);
    else if (quotes.has(byte)) this.quote = byte;
    else if (openers.has(byte)) {
      if (++this.depth > MAX_DEPTH) this.skip('JSON nesting depth limit exceeded');
    } else if (closers.has(byte)) this.depth--;
    if (this.depth === 0 && this.quote === 0) return this.take(from.start, this.at);
    return this.checkSize(from);
  }

  private inString(byte: number): void {
    if (this.escaped) this.escaped = false;
    else if (byte === backslash) this.escaped = true;
    else if (byte === this.quote) this.quote = 0;
  }

  private checkSize(from: { start: number }): undefined {
    if (this.size + this.at - from.start > this.maxBytes)
      this.skip('JSON text size limit exceeded');
    return undefined;
  }

  private skip(reason: string): void {
    this.skipping ??= reason;
    this.parts = [];
  }

  /** Remembers [start, end) of the input as a piece of the running value. */
  private keep(start: number, end: number): void {
    if (this.state === 'between' || this.skipping !== undefined) return;
    this.parts.push(this.input.subarray(start, end));
    this.size += end - start;
  }

  private take(start: number, end: number): Frame {
    if (this.state === 'between') return { text: this.input.subarray(start, end) };
    this.keep(start, end);
    const text = Buffer.concat(this.parts);
    const error = this.skipping;
    this.clear();
    return error === undefined ? { text } : { error };
  }

  private restart(from: { start: number }, reason: string): Frame | undefined {
    this.at++;
    from.start = this.at;
    return this.state === 'between' ? undefined : this.fail(reason);
  }

  private fail(reason: string): Frame {
    const error = this.skipping ?? reason;
    this.clear();
    return { error };
  }

  private clear(): void {
    this.state = 'between';
    this.parts = [];
    this.size = 0;
    this.depth = 0;
    this.quote = 0;
    this.escaped = false;
    this.skipping = undefined;
  }
}
