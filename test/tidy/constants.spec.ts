/**
 * Goal: a constant of a module is told from a variable at each use: numbers and words have names in
 * UPPER_SNAKE_CASE. Method: the top-level declarations of src whose value is a literal, or computed
 * of literals.
 */
import ts from 'typescript';
import { filesUnder, read } from '../support/sources.js';

function isLiteral(value: ts.Expression | undefined): boolean {
  if (!value) return false;
  if (ts.isPrefixUnaryExpression(value)) return isLiteral(value.operand);
  if (ts.isParenthesizedExpression(value)) return isLiteral(value.expression);
  if (ts.isBinaryExpression(value)) return isLiteral(value.left) && isLiteral(value.right);
  return ts.isNumericLiteral(value) || ts.isBigIntLiteral(value) || ts.isStringLiteralLike(value);
}

function constantsOf(path: string): string[] {
  const { statements } = ts.createSourceFile(path, read(path), ts.ScriptTarget.ESNext);
  return statements
    .filter(ts.isVariableStatement)
    .flatMap(({ declarationList }) => [...declarationList.declarations])
    .flatMap(({ name, initializer }) =>
      ts.isIdentifier(name) && isLiteral(initializer) ? [name.text] : [],
    );
}

test('constants of modules are in UPPER_SNAKE_CASE', () => {
  const others = filesUnder('src', '.ts').flatMap(path =>
    constantsOf(path)
      .filter(name => !/^[A-Z][A-Z0-9_]*$/.test(name))
      .map(name => `${path}: ${name}`),
  );
  expect(others).toEqual([]);
});
