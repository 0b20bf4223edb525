/**
 * The arithmetic of x, xp and print: C's operators and precedence over 64 bits, $register, 0x, 0
 * and decimal numbers, 'c'.
 */
import { VmError } from '../../base/errors.js';

const MAX_DEPTH = 64;
const levels = [['|'], ['^'], ['&'], ['+', '-'], ['*', '/', '%']] as const;

/** register: the value of a name after $, or undefined. */
export function evaluate(text: string, register: (name: string) => bigint | undefined): bigint {
  const parser = new Expression(text, register);
  const value = parser.level(0, 0);
  parser.end();
  return BigInt.asUintN(64, value);
}

class Expression {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly register: (name: string) => bigint | undefined,
  ) {}

  end(): void {
    if (this.peek() !== '') throw new VmError(`junk in expression: '${this.text.slice(this.at)}'`);
  }

  level(n: number, depth: number): bigint {
    if (depth > MAX_DEPTH) throw new VmError('the expression is nested too deeply');
    if (n === levels.length) return this.unary(depth);
    let left = this.level(n + 1, depth);
    for (;;) {
      const operator = levels[n].find(o => o === this.peek());
      if (operator === undefined) return left;
      this.at++;
      left = apply(operator, left, this.level(n + 1, depth));
    }
  }

  private peek(): string {
    while (this.text[this.at] === ' ' || this.text[this.at] === '\t') this.at++;
    return this.text[this.at] ?? '';
  }

  private unary(depth: number): bigint {
    const c = this.peek();
    if (depth > MAX_DEPTH) throw new VmError('the expression is nested too deeply');
    if (c === '+' || c === '-' || c === '~') {
      this.at++;
      const value = this.unary(depth + 1);
      return c === '-' ? -value : c === '~' ? ~value : value;
    }
    if (c !== '(') return this.atom();
    this.at++;
    const value = this.level(0, depth + 1);
    if (this.peek() !== ')') throw new VmError("')' expected");
    this.at++;
    return value;
  }

  private atom(): bigint {
    const match = /^(?:\$([A-Za-z0-9_]+)|(0[xX][0-9a-fA-F]+|[0-9]+)|'(.)')/.exec(
      this.text.slice(this.at),
    );
    if (!match)
      throw new VmError(
        this.text.slice(this.at) === ''
          ? 'unexpected end of expression'
          : `invalid char '${this.text[this.at]}' in expression`,
      );
    this.at += match[0].length;
    const [, name, number, character] = match;
    if (character !== undefined) return BigInt(character.charCodeAt(0));
    if (number !== undefined)
      return /^0[0-7]+$/.test(number) ? BigInt(`0o${number}`) : BigInt(number);
    const value = this.register(name);
    if (value === undefined) throw new VmError(`unknown register $${name}`);
    return value;
  }
}

function apply(operator: (typeof levels)[number][number], a: bigint, b: bigint): bigint {
  switch (operator) {
    case '|':
      return a | b;
    case '^':
      return a ^ b;
    case '&':
      return a & b;
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return BigInt.asIntN(64, a * b);
    case '/':
    case '%':
      if (b === 0n) throw new VmError('division by zero');
      return operator === '/' ? a / b : a % b;
  }
}
