/**
 * Lines of at most 100 columns, code and comments. Excused is what cannot be broken without
 * changing what it says: a text of several lines, a regular expression, the title of a test.
 * Method: TypeScript's own parser for TypeScript, every line for C++.
 */
import ts from 'typescript';
import { filesUnder, parse, read } from '../support/sources.js';

const maxColumns = 100;
/** Data with one name a word: an assembler's directive cannot be continued. */
const excusedNative = /^ *\.global /;

function excusedLines(path: string): Set<number> {
  const file = parse(path);
  const excused = new Set<number>();
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line;
  const visit = (node: ts.Node): void => {
    const from = lineOf(node.getStart(file));
    const to = lineOf(node.end);
    const isText = ts.isTemplateExpression(node) || ts.isNoSubstitutionTemplateLiteral(node);
    if ((isText && to > from) || ts.isRegularExpressionLiteral(node))
      for (let line = from; line <= to; line++) excused.add(line);
    if (ts.isCallExpression(node) && /^(test|it)\b/.test(node.expression.getText(file)))
      excused.add(from);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return excused;
}

function wide(path: string): string[] {
  const lines = read(path).split('\n');
  if (lines.every(line => line.length <= maxColumns)) return [];
  const excused = path.endsWith('.ts') ? excusedLines(path) : new Set<number>();
  return lines.flatMap((line, n) =>
    line.length > maxColumns && !excused.has(n) && !excusedNative.test(line)
      ? [`${path}:${n + 1}: ${line.length} columns`]
      : [],
  );
}

test('no line is wider than 100 columns', () => {
  const scripts = ['src', 'test', 'man'].flatMap(folder => filesUnder(folder, '.ts'));
  const native = ['.cc', '.h'].flatMap(suffix => filesUnder('native', suffix));
  const ours = native.filter(path => !path.startsWith('native/build/'));
  expect([...scripts, ...filesUnder('bin', '.js'), ...ours].flatMap(wide)).toEqual([]);
});
