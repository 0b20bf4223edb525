/**
 * Goal: a name says what it is, and one name means one thing: every name that a file of src exports
 * is exported by that file alone (passing it on aside), and what a class or a function is given has
 * the field's word or is called options, host, ports or context. Method: the syntax tree.
 */
import ts from 'typescript';
import { filesUnder, lineOf, parse } from '../support/sources.js';

const files = filesUnder('src', '.ts');
/** A collection of things, told by a metaphor or by nothing. */
const bag = /(World|Parts|Bag|Ground|Terms|Deps|Hooks|Ends|Wiring|Opened|Stuff|Things|Needs)$/;

function isExported(node: ts.Node): boolean {
  const modifiers = ts.canHaveModifiers(node) ? ts.getModifiers(node) : undefined;
  return modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false;
}

function exportsOf(path: string): string[] {
  const names = parse(path)
    .statements.filter(isExported)
    .flatMap(statement => {
      if (ts.isVariableStatement(statement))
        return statement.declarationList.declarations.map(({ name }) => name.getText());
      const { name } = statement as ts.DeclarationStatement;
      return name ? [name.text] : [];
    });
  return [...new Set(names)];
}

test('no two files export one name', () => {
  const homes = new Map<string, string[]>();
  for (const path of files)
    for (const name of exportsOf(path)) homes.set(name, [...(homes.get(name) ?? []), path]);
  const doubled = [...homes].filter(([, paths]) => paths.length > 1);
  expect(doubled.map(([name, paths]) => `${name}: ${paths.join(' ')}`)).toEqual([]);
});

test('types are not bags', () => {
  const wrong = files.flatMap(path => {
    const file = parse(path);
    return file.statements
      .filter(
        node =>
          ts.isInterfaceDeclaration(node) ||
          ts.isTypeAliasDeclaration(node) ||
          ts.isClassDeclaration(node),
      )
      .filter(({ name }) => bag.test(name?.text ?? ''))
      .map(node => `${path}:${lineOf(file, node)} ${node.name?.text}`);
  });
  expect(wrong).toEqual([]);
});
