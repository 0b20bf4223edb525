/**
 * Every guest-visible device declares its state, and no two declarations share a name. Method:
 * classes that extend Device, calls of vmstate().
 */
import ts from 'typescript';
import { filesUnder, lineOf, parse } from '../support/sources.js';

const files = filesUnder('src', '.ts');

function* nodes(file: ts.SourceFile): Generator<ts.Node> {
  const stack: ts.Node[] = [file];
  for (let node = stack.pop(); node; node = stack.pop()) {
    yield node;
    ts.forEachChild(node, child => void stack.push(child));
  }
}

test('every device has a vmstate', () => {
  const classes = new Map<
    string,
    { declared: boolean; abstract: boolean; base: string; where: string }
  >();
  for (const path of files.filter(p => p.startsWith('src/hw/'))) {
    const file = parse(path);
    for (const node of nodes(file)) {
      if (!ts.isClassDeclaration(node) || !node.name) continue;
      const base =
        node.heritageClauses
          ?.find(h => h.token === ts.SyntaxKind.ExtendsKeyword)
          ?.types[0].expression.getText(file) ?? '';
      const declared = node.members.some(
        m => m.name?.getText(file) === 'vmstate' && !m.getText(file).startsWith('abstract'),
      );
      const abstract = node.modifiers?.some(m => m.kind === ts.SyntaxKind.AbstractKeyword) ?? false;
      classes.set(node.name.text, {
        declared,
        abstract,
        base,
        where: `${path}:${lineOf(file, node)}`,
      });
    }
  }
  const isDevice = (name: string): boolean =>
    name === 'Device' || (classes.has(name) && isDevice(classes.get(name)!.base));
  const has = (name: string): boolean =>
    classes.get(name)?.declared === true || (classes.has(name) && has(classes.get(name)!.base));
  const wrong = [...classes].filter(
    ([name, c]) => name !== 'Device' && !c.abstract && isDevice(name) && !has(name),
  );
  expect(wrong.map(([name, c]) => `${c.where} ${name}`)).toEqual([]);
});

test('vmstate names are unique', () => {
  const seen = new Map<string, string>();
  const twice: string[] = [];
  for (const path of files.filter(p => !p.startsWith('src/fields/'))) {
    const file = parse(path);
    for (const node of nodes(file)) {
      if (!ts.isCallExpression(node) || node.expression.getText(file) !== 'vmstate') continue;
      const name = node.arguments[0];
      if (!name || !ts.isStringLiteral(name)) continue;
      const where = `${path}:${lineOf(file, node)}`;
      if (seen.has(name.text)) twice.push(`${name.text}: ${seen.get(name.text)} and ${where}`);
      seen.set(name.text, where);
    }
  }
  expect(twice).toEqual([]);
});
