/**
 * A line of HMP: a command (`info status` is one), flags `-d`, words, "quoted words" with \n \r \t
 * \" \' \\, and a rest of line.
 */
import { VmError } from '../../base/errors.js';
import type { Fields, Type } from '../../words/types.js';

export interface Line {
  /** `migrate`, `info status`; '' for an empty line. */
  readonly name: string;
  /** Where the arguments begin. */
  readonly argsAt: number;
}

const isBlank = (c: string | undefined) => c === ' ' || c === '\t';

/** Commands whose first argument belongs to their name. */
const prefixes = new Set(['info']);
/** Commands that take `/format` directly behind their name. */
const formatted = /^(x|xp|p|print)\//;

export function splitLine(line: string): Line {
  const first = word(line, 0);
  const slash = formatted.exec(first.text);
  if (slash) return { name: slash[1], argsAt: first.end - first.text.length + slash[1].length };
  if (!prefixes.has(first.text)) return { name: first.text, argsAt: first.end };
  const second = word(line, first.end);
  return second.text === ''
    ? { name: first.text, argsAt: first.end }
    : { name: `${first.text} ${second.text}`, argsAt: second.end };
}

function word(line: string, from: number): { text: string; end: number } {
  let at = from;
  while (isBlank(line[at])) at++;
  const start = at;
  while (at < line.length && !isBlank(line[at])) at++;
  return { text: line.slice(start, at), end: at };
}

/** Reads the arguments of a declaration. A VmError here is a mistake of syntax. */
export function parseArgs(fields: Fields, line: string, from: number): Record<string, unknown> {
  const reader = new Words(line, from);
  const flags = new Map(
    Object.entries(fields).flatMap(([name, type]) =>
      type.hmp.form === 'flag' ? [[type.hmp.letter, name] as const] : [],
    ),
  );
  const out: Record<string, unknown> = {};
  const takeFlags = () => {
    for (let letter = reader.flag(); letter !== undefined; letter = reader.flag()) {
      const name = flags.get(letter);
      if (name === undefined) throw new VmError(`unsupported option -${letter}`);
      out[name] = true;
    }
  };
  if (flags.size > 0) takeFlags();
  for (const [name, type] of Object.entries(fields)) {
    if (type.hmp.form === 'flag' || type.hmp.form === 'none') continue;
    const value =
      type.hmp.form === 'rest'
        ? reader.rest()
        : type.hmp.form === 'format'
          ? reader.format()
          : reader.word();
    if (value === undefined && !type.optional) throw new VmError(expected(type));
    if (value !== undefined) out[name] = convert(type, value);
    if (flags.size > 0) takeFlags();
  }
  if (!reader.atEnd) throw new VmError('extraneous characters at the end of line');
  return out;
}

function expected(type: Type): string {
  return type.hmp.form === 'word' ? `${type.hmp.expected} expected` : 'string expected';
}

function convert(type: Type, text: string): unknown {
  const value = type.fromWord(text);
  if (value === undefined) throw new VmError(`${expected(type)}, not '${text}'`);
  return value;
}

const escapes: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  '\\': '\\',
  '"': '"',
  "'": "'",
};

class Words {
  constructor(
    private readonly line: string,
    private at: number,
  ) {}

  get atEnd(): boolean {
    while (isBlank(this.line[this.at])) this.at++;
    return this.at >= this.line.length;
  }

  /** The letter of `-x`; a negative number is not one. */
  flag(): string | undefined {
    if (this.atEnd) return undefined;
    const match = /^-([a-zA-Z])(?=[ \t]|$)/.exec(this.line.slice(this.at));
    if (match) this.at += match[0].length;
    return match?.[1];
  }

  /** `/4xg` */
  format(): string | undefined {
    if (this.atEnd || this.line[this.at] !== '/') return undefined;
    const found = word(this.line, this.at);
    this.at = found.end;
    return found.text.slice(1);
  }

  rest(): string | undefined {
    if (this.atEnd) return undefined;
    const text = this.line.slice(this.at).trimEnd();
    this.at = this.line.length;
    return text;
  }

  word(): string | undefined {
    if (this.atEnd) return undefined;
    if (this.line[this.at] === '"') return this.quoted();
    const found = word(this.line, this.at);
    this.at = found.end;
    return found.text;
  }

  private quoted(): string {
    let out = '';
    for (this.at++; this.at < this.line.length; this.at++) {
      const c = this.line[this.at];
      if (c === '"') {
        this.at++;
        return out;
      }
      if (c !== '\\') {
        out += c;
        continue;
      }
      const code = this.line[++this.at] ?? '';
      if (!Object.hasOwn(escapes, code)) throw new VmError(`unsupported escape code: '\\${code}'`);
      out += escapes[code];
    }
    throw new VmError('unterminated string');
  }
}
