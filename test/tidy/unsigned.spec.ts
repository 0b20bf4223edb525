/**
 * Bit operators give signed numbers. Three shapes turn that into a fault, and none may stand in
 * src: `a & b >>> 0` (the shift binds first), a masked value given to a writer of unsigned numbers,
 * and a masked value compared with a number that only an unsigned one can equal. base/unsigned.ts
 * has what to write instead. Method: the syntax tree; the rule is tried on its own examples first.
 */
import { expect, test } from '@jest/globals';
import ts from 'typescript';
import { filesUnder, lineOf, parse } from '../support/sources.js';

const K = ts.SyntaxKind;
const signed = new Set<ts.SyntaxKind>([
  K.AmpersandToken,
  K.BarToken,
  K.CaretToken,
  K.LessThanLessThanToken,
  K.GreaterThanGreaterThanToken,
]);
const equality = new Set<ts.SyntaxKind>([
  K.EqualsEqualsEqualsToken,
  K.ExclamationEqualsEqualsToken,
]);
const bitwise = new Set<ts.SyntaxKind>([K.AmpersandToken, K.BarToken, K.CaretToken]);

/** What an expression may turn out to be: through parentheses and both branches of a condition. */
function outcomes(node: ts.Expression): ts.Expression[] {
  if (ts.isParenthesizedExpression(node)) return outcomes(node.expression);
  if (ts.isConditionalExpression(node))
    return [...outcomes(node.whenTrue), ...outcomes(node.whenFalse)];
  return [node];
}

/** BigInt has no sign bit: an operand that is written as one says so. */
const isBig = (node: ts.Node): boolean =>
  ts.isBigIntLiteral(node) ||
  (ts.isBinaryExpression(node) && (isBig(node.left) || isBig(node.right)));

function mayBeNegative(node: ts.Expression): boolean {
  return outcomes(node).some(
    e =>
      !isBig(e) &&
      ((ts.isBinaryExpression(e) && signed.has(e.operatorToken.kind)) ||
        (ts.isPrefixUnaryExpression(e) && e.operator === K.TildeToken)),
  );
}

function isShiftByZero(node: ts.Expression): boolean {
  return (
    ts.isBinaryExpression(node) &&
    node.operatorToken.kind === K.GreaterThanGreaterThanGreaterThanToken &&
    node.right.getText() === '0'
  );
}

function wrong(node: ts.Node): string | undefined {
  if (
    ts.isCallExpression(node) &&
    ts.isPropertyAccessExpression(node.expression) &&
    /^writeU?Int/.test(node.expression.name.text)
  ) {
    if (node.arguments.length > 0 && mayBeNegative(node.arguments[0]))
      return 'a masked value is written';
  }
  if (!ts.isBinaryExpression(node)) return undefined;
  const {
    operatorToken: { kind },
    left,
    right,
  } = node;
  if (bitwise.has(kind) && isShiftByZero(right))
    return 'the shift binds tighter than the operator before it';
  if (
    equality.has(kind) &&
    mayBeNegative(left) &&
    ts.isNumericLiteral(right) &&
    Number(right.text) > 0x7fff_ffff
  )
    return 'a signed value never equals this';
  return undefined;
}

function faults(file: ts.SourceFile): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const why = wrong(node);
    if (why !== undefined)
      found.push(
        `${file.fileName}:${lineOf(file, node)} ${why}: ${node.getText(file).slice(0, 80)}`,
      );
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

const example = (text: string) =>
  faults(ts.createSourceFile('example.ts', text, ts.ScriptTarget.ES2022, true)).length;

test.each([
  'f(a & b >>> 0)',
  'f(a | (b ? 1 : 2) >>> 0)',
  'b.writeUInt32LE(a & mask, 0)',
  'b.writeUIntLE(last ? (a | 1) : 0, 0, 4)',
  'b.writeUInt32BE(~a, 0)',
  'b.writeUInt32BE(a << 3, 0)',
  'if ((a & mask) === 0x8000_0000) f()',
])('%s is found', text => expect(example(text)).toBe(1));

test.each([
  'f((a & b) >>> 0)',
  'b.writeUInt32LE((a & mask) >>> 0, at & ~3)',
  'b.writeUInt32LE(and32(a, mask), 0)',
  'b.writeBigUInt64LE(a & 0xffn, 0)',
  'if ((a & mask) === 0) f()',
  'if ((a & mask) !== 0x4000_0000) f()',
])('%s is not', text => expect(example(text)).toBe(0));

test('no such shape in src', () => {
  expect(filesUnder('src', '.ts').flatMap(path => faults(parse(path)))).toEqual([]);
});
